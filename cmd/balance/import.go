package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"balance/cmd/balance/internal/exit"
	"balance/config"
	"balance/config/foreign"
	"balance/engine/spec"
)

// importFile prints a file that declares what the file of another balancer does, and
// tells on stderr what is left to do. "-" is stdin.
func importFile(kind, name string, stdin io.Reader, stdout, stderr io.Writer) int {
	data, err := readForeign(name, stdin)
	if err != nil {
		return exit.Because(err, exit.Config, stderr)
	}
	file, left, err := foreign.Import(kind, name, data, func(args []string) (*spec.Config, error) {
		o, err := parseOptions(args)
		if err != nil {
			return nil, err
		}
		if o.config != "" || o.driven || len(o.classic.Args) == 0 {
			return nil, errors.New("it declares no listener")
		}
		document, err := config.Parse(o.classic)
		return document.Config, err
	})
	if file == nil {
		return exit.Because(err, exit.Config, stderr)
	}
	stdout.Write(file)
	if left > 0 {
		fmt.Fprintf(stderr, "balance: not carried over, as comments say: %d\n", left)
	}
	if err != nil {
		exit.Because(err, exit.Config, stderr)
		fmt.Fprintln(stderr, "balance: what came out has to be mended by hand")
		return exit.Config
	}
	return exit.OK
}

func readForeign(name string, stdin io.Reader) ([]byte, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		stdin = file
	}
	return io.ReadAll(io.LimitReader(stdin, foreign.MaxFile+1))
}
