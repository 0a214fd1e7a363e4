package config

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const small = "[[listener]]\nlisten = \":80\"\n[[listener.group]]\nchannels = [\"h1\"]\n"

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "balance.toml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	path := write(t, []byte(small))
	d, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != path || string(d.Data) != small {
		t.Errorf("the document is %q, of %q", d.Data, d.Name)
	}
	if name := d.Config.Listeners[0].Name; name != ":80" {
		t.Errorf("the listener is called %q", name)
	}
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(link); err != nil {
		t.Errorf("through a symbolic link: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	noise := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	directory := t.TempDir()
	missing := filepath.Join(directory, "missing.toml")
	large := write(t, bytes.Repeat([]byte("#"), MaxSize+1))
	noisy := write(t, noise)
	for _, c := range []struct{ path, want string }{
		{directory, "it is a directory, not a file"},
		{missing, "no such file or directory"},
		{os.DevNull, "it is not a regular file"},
		{large, "it is larger than 1048576 bytes"},
		{noisy, "it is larger than 1048576 bytes"},
	} {
		_, err := Load(c.path)
		want := `read configuration "` + c.path + `": ` + c.want
		if err == nil || err.Error() != want {
			t.Errorf("got\n%v\nwant\n%s", err, want)
		}
	}
	if _, err := Load(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestLoadUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads every file")
	}
	path := write(t, []byte(small))
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if want := `read configuration "` + path + `": permission denied`; err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestLoadIsWhole(t *testing.T) {
	data := append([]byte(small), bytes.Repeat([]byte("#"), MaxSize-len(small))...)
	got, err := Load(write(t, data))
	if err != nil || !bytes.Equal(got.Data, data) {
		t.Errorf("%d bytes came back as %d: %v", len(data), len(got.Data), err)
	}
}

// TestLoadTellsWhatItHad has documents that are no configuration: whoever asks
// for them again wants to know whether they are still the same.
func TestLoadTellsWhatItHad(t *testing.T) {
	for _, data := range []string{"", "what?"} {
		d, err := Load(write(t, []byte(data)))
		if err == nil || d.Config != nil || d.Data == nil || string(d.Data) != data {
			t.Errorf("%q: %v, content %q, configuration %v", data, err, d.Data, d.Config)
		}
	}
	d, err := Load(t.TempDir())
	if err == nil || d.Config != nil || d.Data != nil {
		t.Errorf("a directory: %v, content %q, configuration %v", err, d.Data, d.Config)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := write(t, []byte("\n"+strings.Replace(small, "h1", "h1:0", 1)))
	_, err := Load(path)
	want := path + `:5: listener ":80" group 0 channel 0: port "0" is not one of 1 to 65535 or the name of a TCP service`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
