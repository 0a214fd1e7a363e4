package portable

import "golang.org/x/sys/unix"

// hasEnded reports whether nothing comes any more behind what has come.
func hasEnded(fd int) bool {
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, _ := unix.Poll(polled, 0)
	return n > 0
}
