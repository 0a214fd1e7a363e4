// Package config reads what a daemon is to do: from a TOML file (Load, Decode)
// or from a classic command line (Parse). Both end in a valid engine.Config.
// Marshal goes the other way.
//
// Whatever is wrong with a file or a command line is reported at once: the
// errors of Decode and Parse print one fault a line, in the order of the input.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"balance/engine"
)

// MaxSize is the size of the largest file that is read, in bytes.
const MaxSize = 1 << 20

// Load returns the configuration that the file at path declares.
func Load(path string) (*engine.Config, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Decode(path, data)
}

// Read returns the content of the configuration file at path, following
// symbolic links. It refuses what is no regular file, and reads no more than
// MaxSize bytes and one. The errors of the operating system can be told with
// errors.Is.
func Read(path string) ([]byte, error) {
	data, err := readRegular(path)
	var system *fs.PathError
	if errors.As(err, &system) {
		err = system.Err // it repeats the path
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration %q: %w", path, err)
	}
	return data, nil
}

func readRegular(path string) ([]byte, error) {
	// The type is asked for first: to open a FIFO would wait for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory, not a file")
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, errTooLarge
	}
	return data, nil
}
