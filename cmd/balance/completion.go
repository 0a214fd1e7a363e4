package main

import (
	"fmt"
	"io"
	"strings"

	"balance/control"
)

// flagHelp is an option as the usage text tells it.
type flagHelp struct {
	names []string // with their dashes
	arg   string   // what it takes, in capitals; empty for nothing
	text  string
}

const usageColumn = 16 // where the explanations stand in the usage text

// flagsOfUsage reads the usage text, so that an option is told about in one
// place.
func flagsOfUsage() []flagHelp {
	var list []flagHelp
	seen := map[string]bool{}
	lines := strings.Split(usage, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "  -") {
			continue
		}
		spec, text := line, strings.TrimSpace(lines[min(i+1, len(lines)-1)])
		if len(line) > usageColumn && line[usageColumn-1] == ' ' {
			spec, text = line[:usageColumn], line[usageColumn:]
		}
		var help flagHelp
		for _, word := range strings.Fields(spec) {
			if strings.HasPrefix(word, "-") {
				help.names = append(help.names, strings.TrimSuffix(word, ","))
			} else {
				help.arg = strings.TrimSpace(help.arg + " " + word)
			}
		}
		help.text, _, _ = strings.Cut(text, "; ")
		if !seen[help.names[0]] {
			list = append(list, help)
		}
		seen[help.names[0]] = true
	}
	return list
}

var shells = map[string]func(io.Writer){"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}

func bashCompletion(w io.Writer) {
	var names []string
	for _, f := range flagsOfUsage() {
		names = append(names, f.names...)
	}
	fmt.Fprintf(w, `# Completion of balance for bash: source it.
_balance() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	COMPREPLY=()
	case $before in
	-c | --command) COMPREPLY=($(compgen -W '%s' -- "$word")) ;;
	-config | --config | -diff | --diff) COMPREPLY=($(compgen -f -- "$word")) ;;
	-completion | --completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$word")) ;;
	-t | -T) ;;
	-b | -B) COMPREPLY=($(compgen -A hostname -- "$word")) ;;
	*)
		case $word in
		-*) COMPREPLY=($(compgen -W '%s' -- "$word")) ;;
		*) COMPREPLY=($(compgen -A service -- "$word") $(compgen -A hostname -- "$word")) ;;
		esac
		;;
	esac
}
complete -F _balance balance
`, strings.Join(control.Words(), " "), strings.Join(names, " "))
}

func zshCompletion(w io.Writer) {
	fmt.Fprint(w, "#compdef balance\n# Completion of balance for zsh: put it in $fpath as _balance, or source it.\n_balance() {\n\t_arguments -s \\\n")
	action := map[string]string{
		"COMMAND": ":command:(" + strings.Join(control.Words(), " ") + ")",
		"FILE":    ":file:_files",
		"OLD NEW": ":old file:_files:new file:_files",
		"ADDR":    ":address:_hosts",
		"SECONDS": ":seconds:",
		"SHELL":   ":shell:(bash zsh fish)",
	}
	quoted := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	for _, f := range flagsOfUsage() {
		for _, name := range f.names {
			fmt.Fprintf(w, "\t\t'%s[%s]%s' \\\n", name, quoted.Replace(f.text), action[f.arg])
		}
	}
	fmt.Fprint(w, "\t\t'*:host or port:_hosts'\n}\nif [ \"$funcstack[1]\" = _balance ]; then _balance \"$@\"; else compdef _balance balance; fi\n")
}

func fishCompletion(w io.Writer) {
	fmt.Fprint(w, "# Completion of balance for fish: source it, or put it in ~/.config/fish/completions.\ncomplete -c balance -f -a '(__fish_print_hostnames)'\n")
	values := map[string]string{
		"COMMAND": " -x -a '" + strings.Join(control.Words(), " ") + "'",
		"FILE":    " -r -F",
		"OLD NEW": " -r -F",
		"ADDR":    " -x -a '(__fish_print_hostnames)'",
		"SECONDS": " -x",
		"SHELL":   " -x -a 'bash zsh fish'",
	}
	quoted := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	for _, f := range flagsOfUsage() {
		for _, name := range f.names {
			kind := "-s"
			if len(name) > 2 {
				kind = "-o" // a long option with one dash
			}
			fmt.Fprintf(w, "complete -c balance %s %s%s -d '%s'\n", kind, name[1:], values[f.arg], quoted.Replace(f.text))
		}
	}
}
