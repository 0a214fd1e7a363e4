package socket

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// CheckTransparent returns why this process cannot give a socket an address that is not
// this machine's (IP_TRANSPARENT in ip(7)).
func CheckTransparent() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1))
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: it takes CAP_NET_ADMIN", err)
	}
	return err
}
