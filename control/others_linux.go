package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxUnixTable bounds what is read of the table of sockets.
const maxUnixTable = 16 << 20 // bytes

// otherSockets returns the paths of the sockets that daemons of any user may
// listen on, in whichever directory a service manager gave them: what is bound to
// a name as daemons choose it (proc_pid_net(5), /proc/net/unix).
func otherSockets() ([]string, error) {
	file, err := os.Open("/proc/self/net/unix")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	const listening = 1 << 16 // __SO_ACCEPTCON in include/linux/net.h
	var paths []string
	lines := bufio.NewScanner(io.LimitReader(file, maxUnixTable))
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // Num RefCount Protocol Flags Type St Inode Path
		if len(fields) < 8 {
			continue
		}
		flags, err := strconv.ParseUint(fields[3], 16, 32)
		_, path, found := strings.Cut(lines.Text(), " /")
		if path = "/" + path; err != nil || !found || flags&listening == 0 || filepath.Clean(path) != path {
			continue
		}
		if socketName.MatchString(filepath.Base(path)) {
			paths = append(paths, path)
		}
	}
	return paths, lines.Err()
}

// pin holds on to a socket in the directory, which has to belong to its owner, and
// returns a name for it that nobody can give to another, as long as the file is
// open. The caller closes it.
func pin(dir *os.File, owner int, name string) (*os.File, string, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	file := os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name))
	info, err := file.Stat()
	if err == nil {
		err = checkSocket(info, owner)
	}
	pinned := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err == nil {
		if _, statErr := os.Stat(pinned); statErr != nil {
			err = errors.New("it can be asked through /proc alone, which is not there")
		}
	}
	if err != nil {
		file.Close()
		return nil, "", err
	}
	return file, pinned, nil
}
