package planetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The kernel picks a port for whoever asks for none from 32768 (Linux) or
// 49152 (elsewhere) on.
const (
	lowestPort  = 20000
	highestPort = 32000
)

var (
	portsMu sync.Mutex
	ports   = map[int]bool{} // given out; guarded by portsMu
)

// FreeAddress returns an address of the host with a port that is free, and
// stays so until somebody asks for just this one: a port that the kernel
// picked and that was closed again may be picked again at any time, for an
// outgoing connection too. No port is given out twice by one process.
func FreeAddress(host string) (*net.TCPAddr, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	for range highestPort - lowestPort {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if ports[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			continue
		}
		ports[port] = true
		return l.Addr().(*net.TCPAddr), l.Close()
	}
	return nil, fmt.Errorf("no free port from %d to %d on %s", lowestPort, highestPort, host)
}
