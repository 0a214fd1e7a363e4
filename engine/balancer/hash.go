package balancer

import (
	"encoding/binary"
	"net/netip"
)

// The hash of a channel depends on its key alone and that of a client on its
// address alone, without a seed: any number of processes agree, today and
// after a restart. Neither function may change between releases.

const (
	fnvOffset = 14695981039346656037 // FNV-1a, 64 bits
	fnvPrime  = 1099511628211
)

func hashKey(key Key) uint64 {
	h := uint64(fnvOffset)
	for _, b := range []byte(key.String()) {
		h = (h ^ uint64(b)) * fnvPrime
	}
	return mix(h)
}

func hashAddr(addr netip.Addr) uint64 {
	b := addr.As16()
	return mix(mix(binary.BigEndian.Uint64(b[:8])) ^ binary.BigEndian.Uint64(b[8:]))
}

// score is that of a channel for a client: the channel with the highest is the
// client's own.
func score(channel, client uint64) uint64 { return mix(channel ^ client) }

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable
// Pseudorandom Number Generators, 2014): each input bit changes each output
// bit with a probability of about one half.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
