package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Replacement is what is to stand in a file, written beside it. It is used by one
// goroutine.
type Replacement struct {
	target string      // behind all symbolic links
	seen   os.FileInfo // of the target, when its content was kept
	next   string      // the new content; empty if the target has it already
	backup string      // the old content
}

// PrepareReplacement does all that can fail before the file at name is to hold
// other data: both contents stand beside the file then, with its owner and its mode.
// A symbolic link stays one, it is the file behind it that changes. It gives up
// when ctx ends, or after five seconds. The caller closes the replacement.
func PrepareReplacement(ctx context.Context, name string, data []byte) (*Replacement, error) {
	r, err := Within(ctx, func() (*Replacement, error) { return prepareReplacement(name, data) })
	if err != nil {
		return nil, fmt.Errorf("write configuration %q: %w", name, err)
	}
	return r, nil
}

func prepareReplacement(name string, data []byte) (*Replacement, error) {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	r := &Replacement{target: target}
	if r.seen, err = os.Lstat(target); err != nil {
		return nil, err
	}
	old, err := readRegular(target)
	switch {
	case err != nil:
		return nil, err
	case bytes.Equal(old, data):
		return r, nil
	}
	if r.next, err = writeBeside(target, r.seen, data); err == nil {
		r.backup, err = writeBeside(target, r.seen, old)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// writeBeside writes a file with the owner and the mode of another, in its
// directory.
func writeBeside(target string, like os.FileInfo, data []byte) (name string, err error) {
	file, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return "", err
	}
	owner := like.Sys().(*syscall.Stat_t)
	if info, statErr := file.Stat(); statErr != nil {
		err = statErr
	} else if is := info.Sys().(*syscall.Stat_t); is.Uid != owner.Uid || is.Gid != owner.Gid {
		err = file.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		err = file.Chmod(like.Mode().Perm()) // chown(2) may have taken bits away
	}
	if err == nil {
		_, err = file.Write(data)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}

// Commit puts the new content in the place of the file, and the old one beside it,
// with ".bak" added to the name, which it returns. It is empty if the file had the
// content already.
func (r *Replacement) Commit(ctx context.Context) (backup string, err error) {
	if r.next == "" {
		return "", nil
	}
	_, err = Within(ctx, func() (none struct{}, err error) { return none, r.commit() })
	if err != nil {
		return "", fmt.Errorf("write configuration %q: %w", r.target, err)
	}
	return r.target + ".bak", nil
}

func (r *Replacement) commit() error {
	now, err := os.Lstat(r.target)
	if err != nil {
		return err
	}
	if !os.SameFile(now, r.seen) || now.Size() != r.seen.Size() || !now.ModTime().Equal(r.seen.ModTime()) {
		return errors.New("somebody else changed it meanwhile")
	}
	if err := os.Rename(r.backup, r.target+".bak"); err != nil {
		return err
	}
	if err := os.Rename(r.next, r.target); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(r.target))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Close removes what was not put in its place.
func (r *Replacement) Close() error {
	for _, name := range []string{r.next, r.backup} {
		if name != "" {
			os.Remove(name) // after Commit there is none of this name
		}
	}
	return nil
}
