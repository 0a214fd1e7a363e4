package planetest

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// Clients beyond the most sessions of their listener, all its sockets together,
// wait in the queue, and those of others do not.
func testListenerMax(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	router := r.router(r.serve(echo))
	first := r.bind("127.0.0.1", service(router))
	second := r.bind("127.0.0.1", service(router))
	second.listener = first.listener // two sockets of one listener
	limited := func(n int) {
		s := service(router)
		s.MaxSessions = n
		first.listener.SetService(s)
		first.acceptor.Serve(first.listener)
		second.acceptor.Serve(first.listener)
	}
	limited(3)
	other := r.listen(router)
	var clients []*net.TCPConn
	for i := range 10 {
		client := []*door{first, second}[i%2].dial()
		io.WriteString(client, "x")
		clients = append(clients, client)
	}
	r.relaying(3)
	free := other.dial()
	exchange(t, free, "others go on")
	time.Sleep(50 * time.Millisecond)
	r.relaying(3 + 1)
	if n := first.listener.Accepted.Load(); n != 3 {
		t.Errorf("%d clients were accepted", n)
	}
	limited(5)
	r.relaying(5 + 1)
	limited(2) // ends nobody
	exchange(t, free, "others go on")
	r.relaying(5 + 1)
	served := 0
	serve := func() bool {
		// Whoever is served leaves.
		clients = slices.DeleteFunc(clients, func(client *net.TCPConn) bool {
			client.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, _ := client.Read(make([]byte, 1)); n == 0 {
				return false
			}
			client.Close()
			served++
			return true
		})
		return len(clients) == 0
	}
	eventually(t, "the half have been served", func() bool { serve(); return served >= 5 })
	limited(0)
	eventually(t, "everybody has been served", serve)
	if log := r.log.String(); !strings.Contains(log, "the listener has as many sessions as it may have") || strings.Contains(log, "there are as many sessions") {
		t.Errorf("the log:\n%s", log)
	}
}

// Many come to a listener that has one place, while another is never full.
func testListenerMaxChurn(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	router := r.router(r.serve(echo))
	s := service(router)
	s.MaxSessions = 1
	narrow, wide := r.listenAt("127.0.0.1", s), r.listen(router)
	r.plane.SetMaxSessions(3)
	const each = 100
	done := make(chan bool)
	for _, d := range []*door{narrow, wide} {
		for range 4 {
			go func() {
				defer func() { done <- true }()
				for range each / 4 {
					client, err := net.Dial("tcp", d.socket.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					client.SetDeadline(time.Now().Add(patience))
					io.WriteString(client, "x")
					if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
						t.Errorf("not served: %v", err)
					}
					client.Close()
				}
			}()
		}
	}
	for range 8 {
		<-done
	}
	for range 2 * each {
		r.end()
	}
	if a, b := narrow.listener.Accepted.Load(), wide.listener.Accepted.Load(); a != each || b != each {
		t.Errorf("%d and %d were accepted", a, b)
	}
}
