package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// unitFile is examples/balance.service with a program that is there.
func unitFile(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skipf("skipped: %v", err)
	}
	unit, err := os.ReadFile("../../examples/balance.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("balance")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "/usr/local/bin/balance"
	if strings.Count(string(unit), installed) < 2 {
		t.Fatalf("the unit does not start %s", installed)
	}
	path := filepath.Join(t.TempDir(), "balance.service")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(unit), installed, program)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnitIsValid(t *testing.T) {
	out, err := bounded(t, "systemd-analyze", "verify", "--man=no", unitFile(t)).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestUnitExposure holds the unit to an exposure below 2.0 of 10, as
// systemd-analyze(1) rates it.
func TestUnitExposure(t *testing.T) {
	out, err := bounded(t, "systemd-analyze", "security", "--offline=true", "--no-pager", unitFile(t)).CombinedOutput()
	found := regexp.MustCompile(`Overall exposure level for balance\.service: ([0-9.]+) `).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("%v: %s", err, out)
	}
	if exposure, err := strconv.ParseFloat(string(found[1]), 64); err != nil || exposure >= 2 {
		t.Errorf("exposure %s (%v):\n%s", found[1], err, out)
	}
	// What the program would not bear: see the end of the unit.
	for _, line := range strings.Split(string(out), "\n") {
		if strings.HasPrefix(line, "✗") && regexp.MustCompile(`User=|NoNewPrivileges|~CAP_SYS|~CAP_\(CHOWN|~CAP_SET|~CAP_\(DAC`).MatchString(line) {
			t.Errorf("%s", line)
		}
	}
}
