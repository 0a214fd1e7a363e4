package client

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal returns the file of a reader or writer that is a terminal.
func terminal(stream any) *os.File {
	file, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return file
}

// keepMode notes how the terminal is. restore makes it so again, and a signal
// that ends the program before that does so first.
func keepMode(fd int) (restore func(), err error) {
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	kept, err := term.GetState(fd)
	if err != nil {
		signal.Stop(ending)
		return nil, err
	}
	var waiting sync.WaitGroup
	waiting.Go(func() { endAtSignal(ending, fd, kept) })
	return func() {
		term.Restore(fd, kept)
		signal.Stop(ending)
		close(ending) // a signal that came before is still received
		waiting.Wait()
	}, nil
}

// endAtSignal waits for a signal or for the closing of the channel. At a signal
// it restores the terminal, and the program ends by that signal.
func endAtSignal(ending chan os.Signal, fd int, kept *term.State) {
	sig, came := <-ending
	if !came {
		return
	}
	term.Restore(fd, kept)
	signal.Stop(ending) // now the signal has its usual effect
	unix.Kill(os.Getpid(), sig.(unix.Signal))
}

// awaitKey waits for a key, swallows it, and reports whether there was one in
// time.
func awaitKey(keys *os.File, timeout time.Duration) (bool, error) {
	restore, err := keepMode(int(keys.Fd()))
	if err != nil {
		return false, err
	}
	defer restore()
	if _, err := term.MakeRaw(int(keys.Fd())); err != nil {
		return false, err
	}
	for end := time.Now().Add(timeout); ; {
		left := max(time.Until(end), 0)
		ready := []unix.PollFd{{Fd: int32(keys.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false, err
		}
		_, err = keys.Read(make([]byte, 64))
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return true, err
	}
}
