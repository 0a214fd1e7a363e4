package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"balance/patience"
)

// otherPatience is for directories of other users, who may have mounted there
// what hangs.
var otherPatience = patience.New(2*time.Second, 64)

// SearchOthers connects to the daemons of all users that Search does not look
// for, on behalf of root; it finds none for others, or with a directory given by
// RUNTIME_DIRECTORY. They are asked who they are, and only if the directory, the
// socket and the process behind it belong to the same user, whatever links lead
// there. The caller closes the clients.
func SearchOthers() Found {
	known := directories()
	if os.Geteuid() != 0 || !slices.Equal(known, []string{systemDirectory}) {
		return Found{}
	}
	paths, err := otherSockets()
	var found Found
	if err != nil {
		found.Errs = append(found.Errs, fmt.Errorf("look for daemons of other users: %w", err))
	}
	paths = slices.DeleteFunc(paths, func(path string) bool { return slices.Contains(known, filepath.Dir(path)) })
	slices.Sort(paths)
	if paths = slices.Compact(paths); len(paths) > maxSockets {
		found.Errs = append(found.Errs, fmt.Errorf("there are %d sockets of other users: %d are asked", len(paths), maxSockets))
		paths = paths[:maxSockets]
	}
	most := min(maxIdentity, maxAllIdentities/max(len(paths), 1))
	var mu sync.Mutex // guards found
	var asking sync.WaitGroup
	for _, path := range paths {
		asking.Go(func() {
			client, err := dialOther(path, most)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				found.Clients = append(found.Clients, client)
			case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist):
				found.Errs = append(found.Errs, err)
			}
		})
	}
	asking.Wait()
	return found
}

// dialOther connects to a daemon of whichever user.
func dialOther(path string, most int) (*Client, error) {
	dir, err := patience.Within(context.Background(), otherPatience, func() (*os.File, error) { return openDirectory(filepath.Dir(path)) })
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dialIn(dir, filepath.Base(path), most)
}

// dialIn connects to a socket in a directory, and says who is behind it if the
// directory is another user's.
func dialIn(dir *os.File, name string, most int) (*Client, error) {
	path := filepath.Join(dir.Name(), name)
	info, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	if owner == os.Geteuid() || owner == 0 {
		return dialAtPace(path, most, usualPace)
	}
	file, pinned, err := pin(dir, owner, name)
	if err != nil {
		return nil, fmt.Errorf("socket %q: %w", path, err)
	}
	return dialSocket(&Client{path: path, address: pinned, pinned: file, pace: usualPace, owner: owner}, most)
}

// checkSocket refuses what is no socket of the owner.
func checkSocket(info fs.FileInfo, owner int) error {
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("it is not a socket")
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != owner {
		return fmt.Errorf("it belongs to user %d, its directory to user %d", uid, owner)
	}
	return nil
}
