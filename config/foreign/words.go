package foreign

import (
	"path"
	"strings"

	"balance/engine/spec"
)

// line is one of a file, taken apart.
type line struct {
	number int
	text   string
	words  []string
}

// linesOf takes text apart as a shell does, and HAProxy: words in quotes, what a
// backslash protects, lines that one continues, comments. Words of operators are words
// of their own.
func linesOf(text, operators string) []line {
	var lines []line
	number := 0
	rest := text
	for rest != "" {
		number++
		var one string
		one, rest, _ = strings.Cut(rest, "\n")
		first := number
		for strings.HasSuffix(strings.TrimRight(one, "\r"), "\\") && rest != "" {
			var next string
			next, rest, _ = strings.Cut(rest, "\n")
			one = strings.TrimSuffix(strings.TrimRight(one, "\r"), "\\") + " " + next
			number++
		}
		if words := wordsOf(one, operators); len(words) > 0 {
			lines = append(lines, line{first, strings.TrimSpace(one), words})
		}
	}
	return lines
}

func wordsOf(text, operators string) []string {
	var words []string
	var word strings.Builder
	inside, open := false, byte(0)
	end := func() {
		if inside {
			words = append(words, word.String())
			word.Reset()
			inside = false
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case open != 0 && c == open:
			open = 0
		case c == '\\' && open != '\'' && i+1 < len(text):
			i++
			word.WriteByte(text[i])
			inside = true
		case open != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			open, inside = c, true
		case c == '#' && !inside:
			return words
		case c == ' ' || c == '\t' || c == '\r':
			end()
		case strings.IndexByte(operators, c) >= 0:
			end()
			words = append(words, string(c))
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	end()
	return words
}

// readCommands reads the command lines of a program from a script, a crontab, a unit or
// a list of them.
func readCommands(r *result, program string, data []byte, read func(*result, line, []string)) {
	for _, l := range linesOf(string(data), ";&|<>()") {
		found := false
		for i, word := range l.words {
			_, after, unit := strings.Cut(word, "ExecStart=")
			if unit {
				word = strings.TrimLeft(after, "-+!@:")
			}
			if path.Base(word) != program || found {
				continue
			}
			found = true
			args := l.words[i+1:]
			for k, word := range args {
				if strings.Contains(";&|<>()", word) && word != "" {
					args = args[:k]
					break
				}
			}
			read(r, l, args)
		}
		if !found {
			r.notes = append(r.notes, note{l.number, l.text, "not a command line of " + program})
		}
	}
}

// classicCommand reads a command line of the classic balance.
func classicCommand(parse Parser) func(*result, line, []string) {
	return func(r *result, l line, args []string) {
		config, err := parse(args)
		if err != nil {
			r.notes = append(r.notes, note{l.number, l.text, strings.ReplaceAll(err.Error(), "\n", "; ")})
			return
		}
		for _, listener := range config.Listeners {
			listener.Name = r.unique(listener.Name)
			r.services = append(r.services, &service{Listener: listener})
		}
		if config.Log.Level == spec.LogDebug {
			r.daemon.Log.Level = spec.LogDebug
		}
	}
}
