package engine

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file with the mark that it had is looked into again as long as it may have been
// written to at the same time; then it costs no read.
func TestReadListTrustsOldMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deny")
	if err := os.WriteFile(path, []byte("192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	read, err := readList(path, readFile{})
	if err != nil {
		t.Fatal(err)
	}
	if read.sure && time.Since(before) < settled {
		t.Error("a file that was just written is trusted")
	}
	known := readFile{listFile: &listFile{path: path, text: []byte("192.0.2.2\n")}, mark: read.mark}
	if again, err := readList(path, known); err != nil || string(again.text) != "192.0.2.1\n" {
		t.Errorf("a young mark was trusted: %q, %v", again.text, err)
	}
	known.sure = true
	if again, err := readList(path, known); err != nil || again.listFile != known.listFile {
		t.Errorf("an old mark was not trusted: %q, %v", again.text, err)
	}
	known.mark.inode++
	if again, err := readList(path, known); err != nil || string(again.text) != "192.0.2.1\n" {
		t.Errorf("another mark was trusted: %q, %v", again.text, err)
	}
	if again, err := readList(path, read); err != nil || again.listFile != read.listFile {
		t.Errorf("the same text is another file: %v", err)
	}
}
