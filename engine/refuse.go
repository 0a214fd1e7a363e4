package engine

import (
	"time"

	"balance/engine/plane"
	"balance/engine/spec"
)

// review has the sockets of each listener refuse clients, or accept them, as its
// configuration and its channels ask for now:
//
//	accepting ──► stop, then refuse ──► refusing
//	    ▲                                  │
//	    └── adopt, serve ◄── listen ◄──────┘
//
// Those who wait in the queue of a socket then are reset, as are those who were
// accepted and find no channel (plane.Service.ResetUnserved).
//
// It is to be called after whatever may have changed whether a channel can be
// had. Whoever comes last sees what was so last. As it waits for the loops, it
// must not be called by one, nor by anybody whom one waits for; the caller may
// hold applying.
func (e *Engine) review() {
	e.reviewing.Lock()
	defer e.reviewing.Unlock()
	if e.life.Err() != nil {
		return // the sockets are being retired
	}
	s := e.current.Load()
	for _, l := range s.listeners {
		unwelcome := l.config.WhenUnusable == spec.UnusableRefuse && !l.router.Usable()
		for _, addr := range l.addrs {
			bound, refuse := s.sockets[addr], unwelcome && !e.cannotRefuse
			switch {
			case refuse && !bound.refusing:
				e.refuse(bound, l)
			case !refuse && bound.refusing:
				e.acceptAgain(bound, l)
			}
		}
	}
}

// serve gives the clients of a listener's sockets to it, but for those sockets
// that refuse them.
func (e *Engine) serve(l *listener, sockets sockets) {
	e.reviewing.Lock()
	defer e.reviewing.Unlock()
	for _, addr := range l.addrs {
		if bound := sockets[addr]; !bound.refusing {
			bound.acceptor.Serve(l.shared)
		}
	}
}

// refuse has a socket refuse clients. Where that is not to be had, they go on
// being accepted. The caller holds reviewing.
func (e *Engine) refuse(bound *boundSocket, l *listener) {
	bound.acceptor.Stop()
	bound.refusing = true
	if err := bound.Refuse(true); err != nil {
		e.cannotRefuse = true
		e.log.Warn("clients cannot be refused on this system: those for whom there is no channel are reset", "error", err)
		e.acceptAgain(bound, l)
		return
	}
	e.log.Warn("no channel can be had, clients are refused", "listener", l.config.Name, "address", bound.Address().String())
}

// acceptAgain ends what refuse began. The caller holds reviewing.
func (e *Engine) acceptAgain(bound *boundSocket, l *listener) {
	err := e.reopen(bound, l.shared)
	switch {
	case err == nil:
		e.log.Info("clients are accepted again", "listener", l.config.Name, "address", bound.Address().String())
	case !bound.reopening:
		bound.reopening = true
		e.log.Warn("clients cannot be accepted again yet", "listener", l.config.Name, "address", bound.Address().String(), "error", err)
		e.workers.Go(func() { e.reviewLater(bound) })
	}
}

func (e *Engine) reopen(bound *boundSocket, to *plane.Listener) error {
	if err := bound.Refuse(false); err != nil {
		return err
	}
	acceptor, err := e.plane.Adopt(bound.Socket)
	if err != nil {
		return err
	}
	acceptor.Serve(to)
	bound.acceptor, bound.refusing = acceptor, false
	return nil
}

// reopenEvery is how often it is tried to listen again while that fails: an older
// socket on an overlapping address may be in the way until it is retired.
const reopenEvery = 200 * time.Millisecond

func (e *Engine) reviewLater(bound *boundSocket) {
	timer := time.NewTimer(reopenEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.life.Done():
		return
	}
	e.reviewing.Lock()
	bound.reopening = false
	e.reviewing.Unlock()
	e.review()
}
