//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

func adoptOrphans() error { return nil }

// daemonized finds daemons by /proc, so scripts that need it are for Linux.
func daemonized(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("daemonized is for Linux")
}
