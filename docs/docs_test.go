// Package docs holds no code: its tests hold the documents to what there is.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"balance/config"
	"balance/control"
)

const root = ".."

// documents returns the text of each document by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{root + "/*.md", root + "/docs/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range paths {
			texts[path] = read(t, path)
		}
	}
	return texts
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sources returns the paths of all files of Go below a directory of the module.
func sources(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d files of Go below %q: %v", len(paths), dir, err)
	}
	return paths
}

func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`) // from the anchor of a heading
	texts := documents(t)
	for path, text := range texts {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target := path
			if found[1] != "" {
				target = filepath.Join(filepath.Dir(path), found[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			anchored := found[2] == ""
			for _, h := range heading.FindAllStringSubmatch(texts[target], -1) {
				anchored = anchored || "#"+strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == found[2]
			}
			if !anchored {
				t.Errorf("%s: %s has no heading %s", path, target, found[2])
			}
		}
	}
}

// A document that is not linked to from the README is not found.
func TestReadmeLeadsToEveryDocument(t *testing.T) {
	readme := read(t, root+"/README.md")
	for path := range documents(t) {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		if name != "README.md" && !strings.Contains(readme, "]("+name+")") {
			t.Errorf("no link to %s", name)
		}
	}
}

func TestFilesThatAreNamed(t *testing.T) {
	file := regexp.MustCompile("`([a-z0-9_./-]+/[a-z0-9_./-]+)`")
	for path, text := range documents(t) {
		for _, found := range file.FindAllStringSubmatch(text, -1) {
			if name := found[1]; filepath.Ext(name) == ".go" || filepath.Ext(name) == ".1" {
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
}

func TestTestsThatAreNamed(t *testing.T) {
	var tests strings.Builder
	for _, path := range sources(t, "") {
		if strings.HasSuffix(path, "_test.go") {
			tests.WriteString(read(t, path))
		}
	}
	var suite strings.Builder
	for _, path := range sources(t, "engine/plane/planetest") {
		suite.WriteString(read(t, path))
	}
	named := regexp.MustCompile(`\b((?:Test|Fuzz)[A-Z]\w*)(?:/([a-z]+))?|\bplanetest/([A-Z]\w*)`)
	for path, text := range documents(t) {
		for _, found := range named.FindAllStringSubmatch(text, -1) {
			test, script, member := found[1], found[2], found[3]
			switch {
			case member != "" && !regexp.MustCompile(`"`+member+`":\s+test`).MatchString(suite.String()):
				t.Errorf("%s: the suite has no %s", path, member)
			case member == "" && !strings.Contains(tests.String(), "func "+test+"("):
				t.Errorf("%s: there is no %s", path, test)
			case test == "TestScripts" && script != "":
				if _, err := os.Stat(root + "/cmd/balance/testdata/script/" + script + ".txtar"); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
}

func TestArchitectureHasEveryPackage(t *testing.T) {
	text := read(t, "architecture.md")
	for _, path := range sources(t, "") {
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if dir != "docs" && !strings.Contains(text, "`"+dir+"`") {
			t.Errorf("the package %s is missing", dir)
			text += "`" + dir + "`" // which is enough
		}
	}
}

func TestArchitectureHasEveryDependency(t *testing.T) {
	text := read(t, "architecture.md")
	for path, pattern := range map[string]string{
		"/go.mod":       `(?m)^\t(\S+) v\S+$`,
		"/tools/go.mod": `(?m)^\t([^/\s]+/[^/\s]+/[^/\s]+)\S*$`,
	} {
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, root+path), -1)
		if len(found) < 2 {
			t.Fatalf("%s has no dependencies", path)
		}
		for _, names := range found {
			if !strings.Contains(text, names[1]) {
				t.Errorf("%s is missing", names[1])
			}
		}
	}
}

func TestEveryCommandIsDescribed(t *testing.T) {
	text := read(t, "control.md")
	for _, word := range control.Words() {
		if !strings.Contains(text, "`"+word+"`") && !strings.Contains(text, "`"+word+" ") {
			t.Errorf("the command %s is missing", word)
		}
	}
}

// TestManualHasEveryKey looks for the keys of the example, which has them all.
func TestManualHasEveryKey(t *testing.T) {
	manual := read(t, root+"/cmd/balance/balance.1")
	keys := regexp.MustCompile(`(?m)^#? ?([a-z0-9_]+) += `).FindAllStringSubmatch(read(t, root+"/balance.toml.example"), -1)
	if len(keys) == 0 {
		t.Fatal("the example has no keys")
	}
	for _, key := range keys {
		if !regexp.MustCompile(`(?m)^\.(It )?Cm (\w+ , (Cm )?)*` + key[1] + `\b|\b` + key[1] + ` += `).MatchString(manual) {
			t.Errorf("the key %s is missing", key[1])
		}
	}
}

// TestConfigurationHasEveryKey compares the table of keys with that which -explain
// prints; BALANCE_WRITE=1 writes it.
func TestConfigurationHasEveryKey(t *testing.T) {
	const heading = "\n## All keys\n"
	text := read(t, "configuration.md")
	before, _, found := strings.Cut(text, heading)
	if !found {
		t.Fatalf("there is no%s", heading)
	}
	want := before + heading + "\nThis is what `balance -explain KEY` tells.\n\n" + config.Markdown()
	if text == want {
		return
	}
	if os.Getenv("BALANCE_WRITE") == "" {
		t.Fatal("the table is not that of the keys: BALANCE_WRITE=1 go test -run TestConfigurationHasEveryKey ./docs writes it")
	}
	if err := os.WriteFile("configuration.md", []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What the README shows as a file is one, and its typing error is told as the
// README says.
func TestReadmeShowsAFile(t *testing.T) {
	_, section, _ := strings.Cut(read(t, root+"/README.md"), "\n## One file\n")
	var file strings.Builder
	for line := range strings.Lines(strings.TrimLeft(section, "\n")) {
		code, ok := strings.CutPrefix(line, "    ")
		if !ok && strings.TrimSpace(line) != "" {
			break
		}
		file.WriteString(code)
	}
	c, err := config.Decode("balance.toml", []byte(file.String()))
	if err != nil || len(c.Listeners) != 1 || len(c.Listeners[0].Groups) != 2 {
		t.Fatalf("%v\n%s", err, file.String())
	}
	lines := strings.Split(file.String(), "\n")
	last := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, `channels = ["spare`) })
	lines[last] = strings.Replace(lines[last], "channels", "chanels", 1)
	_, err = config.Decode("balance.toml", []byte(strings.Join(lines, "\n")))
	if err == nil || !strings.Contains(section, fmt.Sprintf("\n    balance: %s\n", strings.Split(err.Error(), "\n")[0])) {
		t.Errorf("the README does not say: %v", err)
	}
}
