// Package eventloop is the data plane for Linux: one event loop for each
// core, and one goroutine that ends sessions when too much is buffered.
//
//	listening sockets ──► loop: accept ──► session: dial, relay, end
//	   (shared by all)     │
//	                       └ its own epoll, timer wheel, read buffer, pipes, slab of sessions
//
// A session stays on the loop that accepted its client. What a loop owns is
// touched by its own goroutine alone; others leave a task in its mailbox.
// Nothing on the way of a byte takes a lock, passes a channel or allocates.
//
// Small data is copied through the one buffer of the loop. What the receiver
// does not take at once waits in a buffer of its own, and the sender is not
// read from until that is empty. When reads come back full, the bytes go
// through a pipe with splice(2) instead.
package eventloop
