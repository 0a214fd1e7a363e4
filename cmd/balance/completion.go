package main

import (
	"net"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"balance/cmd/balance/internal/client"
	"balance/control"
)

// shells are the scripts of -completion. They hand over the line as it stands
// before and behind the cursor, and get the words that may stand in the place of
// the last, each with a tab and what it means behind it; or one of the two words
// below.
var shells = map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}

// What shells find better themselves.
const (
	fileNames = ":files"
	hostNames = ":hosts"
)

// bash takes a colon for the end of a word, unless that is quoted.
const bashCompletion = `# Completion of balance for bash: source it.
_balance() {
	local LC_ALL=C word about typed=${COMP_WORDS[COMP_CWORD]} before=${COMP_LINE:0:COMP_POINT} cut=
	local last=${before##*[[:blank:]]}
	case $last in
	*[\"\']*) ;;
	*:*) [ "${COMP_WORDBREAKS/:/}" = "$COMP_WORDBREAKS" ] || cut=${last%"${last##*:}"} ;;
	esac
	COMPREPLY=()
	while IFS=$'\t' read -r word about; do
		case $word in
		:files) compopt -o filenames; while read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$typed") ;;
		:hosts) while read -r word; do COMPREPLY+=("$word"); done < <(compgen -A hostname -- "$typed") ;;
		*) COMPREPLY+=("${word#"$cut"}") ;;
		esac
	done < <("${1/#\~\//$HOME/}" -complete -- "$before" "${COMP_LINE:COMP_POINT}" 2>/dev/null)
}
complete -o nosort -F _balance balance 2>/dev/null || complete -F _balance balance
`

const zshCompletion = `#compdef balance
# Completion of balance for zsh: put it in $fpath as _balance, or source it.
_balance() {
	local -a lines
	local before="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
	lines=("${(@f)$(${(Q)words[1]} -complete -- $before "$SUFFIX ${(j: :)words[CURRENT+1,-1]}" 2>/dev/null)}")
	case $lines[1] in
	'') ;;
	:files) _files ;;
	:hosts) _hosts ;;
	*)
		lines=("${(@)lines//:/\\:}")
		lines=("${(@)lines/$'\t'/:}")
		_describe balance lines
		;;
	esac
}
if [ "$funcstack[1]" = _balance ]; then _balance "$@"; else compdef _balance balance; fi
`

const fishCompletion = `# Completion of balance for fish: source it, or put it in ~/.config/fish/completions.
function __balance_complete
	set -l before (commandline -cp)
	set -l all (commandline -p)
	set -l after (string sub -s (math (string length -- "$before") + 1) -- "$all")
	set -l lines (balance -complete -- "$before" "$after" 2>/dev/null)
	switch "$lines[1]"
		case :files
			__fish_complete_path (commandline -ct)
		case :hosts
			__fish_print_hostnames
		case '*'
			string join \n -- $lines
	end
end
complete -c balance -f -a '(__balance_complete)'
`

// completeLine returns what the scripts are answered about a line, which is
// given as what stands before the cursor and what behind.
func completeLine(args []string) []string {
	if len(args) != 2 {
		return nil
	}
	before, all := words(args[0]), words(args[0]+args[1])
	at := len(before) - 1
	if at < 1 {
		return nil
	}
	last := before[at]
	line := readLine(before[1:at])
	if line.awaiting == nil { // what is not finished yet names no port
		all = slices.Delete(all, at, at+1)
	}
	whole := readLine(all[1:])
	var found []string
	for _, word := range line.next(last, whole.options) {
		if strings.HasPrefix(word, last) || word == fileNames || word == hostNames {
			found = append(found, word)
		}
	}
	return found
}

// commandWords is a command line as far as it is written.
type commandWords struct {
	options  *options
	flags    *pflag.FlagSet
	awaiting *pflag.Flag // that its value is still to come for
	args     []string
}

// readLine takes the words of a line apart as the program would, faults aside.
func readLine(words []string) commandWords {
	l := commandWords{options: new(options)}
	l.flags = l.options.flags()
	l.flags.ParseErrorsAllowlist.UnknownFlags = true
	if n := len(words); n > 0 && strings.HasPrefix(words[n-1], "-") {
		if f := l.valued(words[n-1]); f != nil {
			l.awaiting, words = f, words[:n-1]
		}
	}
	l.flags.Parse(doubleDashes(words)) // what is wrong with it is said when it is run
	l.args = l.flags.Args()
	l.options.classic.Args = l.args
	if n := len(l.args); n > 0 && !isPort(l.args[n-1]) {
		l.options.classic.Args = nil
	}
	l.options.driven = l.options.interactive || l.flags.Changed("command")
	return l
}

// valued returns the flag that a word ends with, if its value is the next word.
func (l *commandWords) valued(word string) *pflag.Flag {
	name := strings.TrimLeft(word, "-")
	if name == "" {
		return nil
	}
	f := l.flags.Lookup(name)
	if f == nil || f.Shorthand != "" && !strings.HasPrefix(word, "--") {
		f = nil
		for i := range len(name) {
			if f = l.flags.ShorthandLookup(name[i : i+1]); f == nil || f.NoOptDefVal == "" && i < len(name)-1 {
				return nil
			}
		}
	}
	if f.NoOptDefVal != "" {
		return nil
	}
	return f
}

// next returns what may stand in the place of the last word; whole are the
// options of the line with what is behind it.
func (l *commandWords) next(last string, whole *options) []string {
	switch {
	case l.awaiting != nil:
		arg, _ := takes(l.awaiting)
		switch arg {
		case "FILE":
			return []string{fileNames}
		case "SHELL":
			return []string{"bash", "zsh", "fish"}
		case "ADDR":
			return addresses()
		case "COMMAND":
			return l.commands(last, "", whole)
		}
		return nil
	case strings.HasPrefix(last, "-"):
		return l.optionsLike(last)
	case l.options.diff && l.options.config == "":
		return []string{fileNames}
	case l.flags.Changed("command"):
		line := commandLine(append([]string{l.options.command}, l.args...))
		list := l.commands(line+" "+last, line+" ", whole)
		list = slices.DeleteFunc(list, func(word string) bool { return strings.HasPrefix(word, "-") })
		if wellFormed(line) {
			list = append(list, client.Ports()...)
		}
		return list
	case l.options.interactive && len(l.args) == 0:
		return client.Ports()
	case l.options.driven, l.options.config != "", len(l.args) == 0:
		return nil
	}
	return []string{hostNames}
}

// optionsLike returns the options, with as many dashes as the word has.
func (l *commandWords) optionsLike(word string) (list []string) {
	l.flags.VisitAll(func(f *pflag.Flag) {
		name := dashed(f)
		switch {
		case f.Hidden, strings.HasPrefix(word, "--") && f.Shorthand != "":
			return
		case strings.HasPrefix(word, "--"):
			name = "-" + name
		}
		_, text := takes(f)
		text, _, _ = strings.Cut(text, "; ")
		list = append(list, name+"\t"+text)
	})
	return list
}

// commands returns how a line of commands may go on, without the part of it that
// is given: what the daemon says, or the names of the commands if none does.
func (l *commandWords) commands(line, given string, whole *options) []string {
	address, err := whole.address()
	if err != nil {
		return nil
	}
	offers, ok := client.Complete(whole.forClient(address), line)
	if !ok && !strings.ContainsAny(line, " ;") {
		offers = control.Words()
	}
	head := line[len(given):]
	head = head[:strings.LastIndexAny(head, " ;")+1]
	for i := range offers {
		offers[i] = head + offers[i]
	}
	return offers
}

// addresses are those of this machine.
func addresses() (list []string) {
	addrs, _ := net.InterfaceAddrs()
	for _, addr := range addrs {
		if network, ok := addr.(*net.IPNet); ok {
			list = append(list, network.IP.String())
		}
	}
	return list
}

// words takes a line apart as a shell does, as far as quotes and backslashes go.
// The last word is the one at the end, which may be empty.
func words(line string) (list []string) {
	var word strings.Builder
	quote := rune(0)
	escaped, begun := false, false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == ' ' || r == '\t':
			if begun {
				list = append(list, word.String())
				word.Reset()
			}
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	return append(list, word.String())
}
