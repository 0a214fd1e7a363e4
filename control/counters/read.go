package counters

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// The head of a file. Its last update is a time in nanoseconds since 1970.
//
//	0     magic "balancec", version, byte order mark, size of a record (uint32 each)
//	64    time of the last update (uint64)
//
// Version 2 has more room for the addresses of a listener, and nothing of what
// was observed of a channel. Version 1 has records without a checksum, and was mapped into memory: the
// first record keeps the place that it had then.
const (
	magic         = "balancec"
	version       = 3
	byteOrderMark = 0x01020304

	AtVersion = 8
	AtUpdated = 64
	headSize  = AtUpdated + 8

	AtRecords = 64 << 10 // where the first record is
)

// errForeign tells that a file is no counters file of this machine, or one of a
// version that is not known.
var errForeign = errors.New("it is not a counters file of this version and machine")

// contents are what a file holds.
type contents struct {
	version uint32
	updated time.Time
	records []Record // in their places; free and damaged ones are zero
	damaged int
}

// Read returns the records of a file, and when it was last written to. Somebody
// may write to it meanwhile. Damaged records are left out.
func Read(path string) (records []Record, updated time.Time, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() {
		return nil, time.Time{}, fmt.Errorf("counters file %q: %w", path, errForeign)
	}
	held, err := read(file, info.Size())
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("counters file %q: %w", path, err)
	}
	return slices.DeleteFunc(held.records, func(r Record) bool { return r == Record{} }), held.updated, nil
}

// encodeHead returns the head of a file.
func encodeHead(updated time.Time) []byte {
	head := make([]byte, headSize)
	copy(head, magic)
	for i, number := range []uint32{version, byteOrderMark, RecordSize} {
		binary.NativeEndian.PutUint32(head[AtVersion+4*i:], number)
	}
	binary.NativeEndian.PutUint64(head[AtUpdated:], uint64(updated.UnixNano()))
	return head
}

// read reads a file of this size. One without a byte is about to be written.
func read(file io.ReaderAt, size int64) (contents, error) {
	if size == 0 {
		return contents{version: version}, nil
	}
	head := make([]byte, headSize)
	if _, err := file.ReadAt(head, 0); err == io.EOF {
		return contents{}, errForeign
	} else if err != nil {
		return contents{}, err
	}
	held := contents{
		version: binary.NativeEndian.Uint32(head[AtVersion:]),
		updated: time.Unix(0, int64(binary.NativeEndian.Uint64(head[AtUpdated:]))),
	}
	want := encodeHead(held.updated)
	binary.NativeEndian.PutUint32(want[AtVersion:], held.version)
	if string(head[:AtUpdated]) != string(want[:AtUpdated]) || held.version < 1 || held.version > version ||
		size > AtRecords+maxRecords*RecordSize {
		return contents{}, errForeign
	}
	records := bufio.NewReaderSize(io.NewSectionReader(file, AtRecords, max(0, size-AtRecords)), 64<<10)
	data := make([]byte, RecordSize)
	for at := int64(AtRecords); ; at += RecordSize {
		switch _, err := io.ReadFull(records, data); {
		case err == io.EOF:
			return held, nil
		case err == io.ErrUnexpectedEOF:
			held.damaged++
			return held, nil
		case err != nil:
			return contents{}, err
		}
		r, sound := decode(data, held.version)
		// Somebody may have been writing to it just now.
		for tries := 0; !sound && tries < 3; tries++ {
			if _, err := file.ReadAt(data, at); err != nil {
				break
			}
			r, sound = decode(data, held.version)
		}
		if !sound {
			held.damaged++
		}
		held.records = append(held.records, r)
	}
}
