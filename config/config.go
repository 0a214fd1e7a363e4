// Package config reads what a daemon is to do: from a TOML file (Load, Decode)
// or from a classic command line (Parse). Both end in a valid spec.Config, which
// a Document keeps together with the file.
// Marshal goes the other way.
//
// Whatever is wrong with a file or a command line is reported at once: the
// errors of Decode and Parse print one fault a line, in the order of the input.
package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// MaxSize is the size of the largest file that is read, in bytes.
const MaxSize = 1 << 20

// Load returns what the file at name declares, following symbolic links. It
// refuses what is no regular file, and reads no more than MaxSize bytes and one.
// A file system that hangs is given up after five seconds. The errors of the
// operating system can be told with errors.Is.
func Load(name string) (Document, error) { return LoadContext(context.Background(), name) }

// LoadContext is Load, and gives up when ctx ends.
func LoadContext(ctx context.Context, name string) (Document, error) {
	document := Document{Name: name}
	var err error
	if document.Data, err = Within(ctx, func() ([]byte, error) { return readRegular(name) }); err != nil {
		return document, fmt.Errorf("read configuration %q: %w", name, err)
	}
	document.Config, err = Decode(name, document.Data)
	return document, err
}

// maxBeside is how many bytes of a file beside the configuration are looked at, in Sum.
const maxBeside = 64 << 20

// Sum returns a number for what a file beside the configuration holds: another one,
// but for chance, when that changes, or why it cannot be read. It gives up after five
// seconds, and when ctx ends.
func Sum(ctx context.Context, name string) [sha256.Size]byte {
	sum, err := Within(ctx, func() ([]byte, error) { return sumOf(name) })
	if err != nil {
		return sha256.Sum256([]byte(err.Error()))
	}
	return [sha256.Size]byte(sum)
}

func sumOf(path string) ([]byte, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(int(file))
	sum := sha256.New()
	_, err = io.Copy(sum, io.LimitReader(file, maxBeside+1))
	return sum.Sum(nil), err
}

// readRegular makes its system calls by itself: package os would wait for what
// has nothing to read yet.
func readRegular(path string) ([]byte, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(int(file))
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, errTooLarge
	}
	return data, nil
}

// descriptor is an open file that is read from without waiting, as far as the
// kernel can tell.
type descriptor int

var errNotRegular = errors.New("it is not a regular file")

// open opens a regular file. To open a FIFO would wait for its writer, but not
// with O_NONBLOCK (fifo(7)), and what was opened cannot be swapped any more
// when its type is asked for.
func open(path string) (descriptor, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	switch {
	case err == unix.ENXIO: // a socket, or a device that is not there (open(2))
		return -1, errNotRegular
	case err != nil:
		return -1, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return -1, err
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return descriptor(fd), nil
	case unix.S_IFDIR:
		err = errors.New("it is a directory, not a file")
	default:
		err = errNotRegular
	}
	unix.Close(fd)
	return -1, err
}

// Read implements io.Reader. What would wait, as /proc/kmsg does, is an error.
func (d descriptor) Read(into []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(int(d), into) })
	switch {
	case err == unix.EAGAIN:
		return 0, errors.New("it has no end: a read would wait for more")
	case err != nil:
		return 0, err
	case n == 0 && len(into) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
