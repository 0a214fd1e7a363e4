//go:build !linux

package control

import (
	"os"
	"path/filepath"
)

// otherSockets returns the paths of the sockets that daemons of any user may
// listen on: those in the directory for temporary files.
func otherSockets() ([]string, error) {
	return filepath.Glob(filepath.Join(os.TempDir(), "balance-*", "*.sock"))
}

// pin returns the name of a socket in the directory, which has to belong to its
// owner. There is no file to close.
func pin(dir *os.File, owner int, name string) (*os.File, string, error) {
	path := filepath.Join(dir.Name(), name)
	info, err := os.Lstat(path)
	if err == nil {
		err = checkSocket(info, owner)
	}
	return nil, path, err
}
