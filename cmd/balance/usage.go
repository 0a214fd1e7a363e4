package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

const synopsis = `Usage:
  balance [options] port host1[:port1[:maxc1]] [!|%] [... hostN[:portN[:maxcN]]]
  balance [options] -config FILE
  balance -demo
  balance [-b ADDR] [-d] -i|-c COMMAND [port | -config FILE]

Classic options, which combine as in -fp and -t3:
`

const afterClassic = `
A group ends with ! (round robin) or % (hash). [ADDRESS]:PORT:MAXC is an IPv6
channel; a channel without a port takes the listening port.

Long options, which may be written with one dash or two:
`

// The usage text has lines of so many columns, and explanations from this one.
const (
	usageWidth  = 80
	usageColumn = 16
)

// usage is what -help prints. It tells what the flags do in their own words.
func usage(flags *pflag.FlagSet) string {
	var classic, long strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Hidden:
		case f.Shorthand != "":
			explain(&classic, f)
		default:
			explain(&long, f)
		}
	})
	return synopsis + classic.String() + afterClassic + long.String()
}

// explain writes the lines of a flag.
func explain(b *strings.Builder, f *pflag.Flag) {
	arg, text := takes(f)
	line := strings.TrimSpace("  " + dashed(f) + " " + arg)
	line = "  " + line
	if len(line) >= usageColumn {
		b.WriteString(line + "\n")
		line = ""
	}
	for _, word := range strings.Fields(text) {
		switch {
		case len(line) < usageColumn:
			line += strings.Repeat(" ", usageColumn-len(line)) + word
		case len(line)+1+len(word) > usageWidth:
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", usageColumn) + word
		default:
			line += " " + word
		}
	}
	fmt.Fprintln(b, line)
}

// dashed is a flag as it is written here: by its letter, if it has one, else by
// its name.
func dashed(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand
	}
	return "-" + f.Name
}

// takes returns what a flag takes, in capitals, empty for nothing, and its
// explanation.
func takes(f *pflag.Flag) (arg, text string) {
	arg, text = pflag.UnquoteUsage(f)
	if f.NoOptDefVal != "" {
		arg = ""
	}
	return arg, text
}
