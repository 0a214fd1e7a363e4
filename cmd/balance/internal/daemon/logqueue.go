package daemon

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueSize  = 8192          // records that wait to be written, at most
	minorShare = queueSize / 4 // of those, that are minor

	flushTimeout = time.Second // for what waits when the daemon ends
	tellLostIn   = time.Second // how long losses may go untold while records are written
)

// logQueue stands between those who log, none of whom may ever wait, and who
// reads the log, who may not read at all. One goroutine writes; it alone is
// blocked by a pipe or a socket that is full. A record that finds no place is
// dropped and counted, and so is one that cannot be written.
type logQueue struct {
	entries chan *logEntry
	minor   atomic.Int64  // of the entries, and of those about to become one
	lost    atomic.Uint64 // records, since the start
	told    uint64        // of lost; owned by the writer
	overdue time.Time     // when the others are to be told at the latest; owned by the writer

	ending chan struct{} // closed when the writer is to write what waits, and end
	ended  chan struct{} // closed by the writer
	end    sync.Once
}

type logEntry struct {
	record  slog.Record
	handler slog.Handler // that was in force when the record was made
	minor   bool         // there may be one for every client
}

// newLogQueue starts the writer, which calls begin before it writes. close
// ends it.
func newLogQueue(begin func()) *logQueue {
	q := &logQueue{
		entries: make(chan *logEntry, queueSize),
		ending:  make(chan struct{}),
		ended:   make(chan struct{}),
	}
	go q.run(begin)
	return q
}

// put takes a record, or drops it. Minor ones have a share of the queue, so
// that they leave room for the others.
func (q *logQueue) put(e *logEntry) {
	if e.minor && q.minor.Add(1) > minorShare {
		q.minor.Add(-1)
		q.lost.Add(1)
		return
	}
	select {
	case q.entries <- e:
	default:
		if e.minor {
			q.minor.Add(-1)
		}
		q.lost.Add(1)
	}
}

// close lets the writer write what waits, for flushTimeout at most. A writer
// that is blocked then stays so: nothing can be done about a write to a pipe
// but to leave it to the end of the process.
func (q *logQueue) close() {
	q.end.Do(func() {
		close(q.ending)
		select {
		case <-q.ended:
		case <-time.After(flushTimeout):
		}
	})
}

func (q *logQueue) run(begin func()) {
	defer close(q.ended)
	begin()
	for {
		select {
		case e := <-q.entries:
			q.write(e)
		case <-q.ending:
			for len(q.entries) > 0 {
				q.write(<-q.entries)
			}
			return
		}
	}
}

// write also tells of losses, once it can: behind the last record of the
// queue, where they belong, or if the queue does not become empty, when they
// are overdue.
func (q *logQueue) write(e *logEntry) {
	if e.minor {
		q.minor.Add(-1)
	}
	if e.handler.Handle(context.Background(), e.record) != nil {
		q.lost.Add(1)
		return
	}
	lost := q.lost.Load()
	if lost == q.told {
		return
	}
	now := time.Now()
	if q.overdue.IsZero() {
		q.overdue = now.Add(tellLostIn)
	}
	if len(q.entries) > 0 && now.Before(q.overdue) || !e.handler.Enabled(context.Background(), slog.LevelWarn) {
		return
	}
	warning := slog.NewRecord(now, slog.LevelWarn, "messages lost", 0)
	warning.AddAttrs(slog.Uint64("count", lost-q.told))
	if e.handler.Handle(context.Background(), warning) == nil {
		q.told, q.overdue = lost, time.Time{}
	}
}
