//go:build !linux

// Command balance-bench measures TCP proxies side by side. It needs Linux:
// its figures come from /proc and its load from epoll.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "balance-bench: it needs Linux: its figures come from /proc and its load from epoll")
	os.Exit(1)
}
