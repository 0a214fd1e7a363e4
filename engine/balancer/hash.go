package balancer

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

// The hash of a channel depends on its key alone and that of a client on its
// address alone, without a seed: any number of processes agree, today and
// after a restart, on machines of every kind. So all is done in whole numbers, and
// none of these functions may change between releases.

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

// hashAddr hashes the leading bits of an address: so many of an IPv4 one, or of
// another; 0 stands for all.
func hashAddr(addr netip.Addr, ipv4Bits, ipv6Bits int) uint64 {
	b := addr.As16()
	high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if ipv4Bits|ipv6Bits != 0 {
		bits := ipv6Bits
		if addr.Is4() || addr.Is4In6() {
			bits = ipv4Bits
			if bits != 0 {
				bits += 96
			}
		}
		switch {
		case bits == 0:
		case bits <= 64:
			high, low = high&^(math.MaxUint64>>bits), 0
		default:
			low &^= math.MaxUint64 >> (bits - 64)
		}
	}
	return mix(mix(high) ^ low)
}

// score is that of a channel for a client: of channels of one weight the one with
// the highest is the client's own.
func score(channel, client uint64) uint64 { return mix(channel ^ client) }

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable
// Pseudorandom Number Generators, 2014): each input bit changes each output
// bit with a probability of about one half.
func mix(x uint64) uint64 { return shift(stir(x)) }

// shift is the last step of mix, and stir all before it. It leaves the leading farBits
// as they are.
func shift(x uint64) uint64 { return x ^ x>>31 }

func stir(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	return (x ^ x>>27) * 0x94d049bb133111eb
}

// far returns how far a score, be it without the last step of mix, is from the highest,
// in parts of 1/(1<<farBits).
func far(score uint64) uint64 { return ^score >> (64 - farBits) }

const farBits = 31

// depth returns how far a score is from the highest, as -log2 of the part that it
// is of that, in parts of 1/(1<<depthBits) and at least 1. If scores are even, depths
// over weights are lowest for each channel as often as it weighs: of exponential
// variables the least is that of each one with its rate as the chance (weighted
// rendezvous hashing). It never rises with the score, and is least or more.
func depth(score uint64) uint64 {
	zeros := bits.LeadingZeros64(score | 1)
	mantissa := (score | 1) << zeros
	i, rest := mantissa>>55&255, mantissa>>24&math.MaxInt32
	log := uint64(63-zeros)<<depthBits + logs[i] + (logs[i+1]-logs[i])*rest>>31
	return max(64<<depthBits-log, least(score), 1)
}

// least returns what the depth is at least: 1-x is below the logarithm of 1/x.
func least(score uint64) uint64 { return ^score >> (64 - depthBits) * 369 >> 8 } // 1/ln 2 is above 369/256

const depthBits = 40

// logs are the binary logarithms of 1 to 2 in steps of 1/256, in parts of
// 1/(1<<depthBits).
var logs = func() (logs [257]uint64) {
	for i := range uint64(256) {
		x := (256 + i) << 55 // 1 to 2, in parts of 1/(1<<63)
		for bit := range depthBits {
			high, low := bits.Mul64(x, x)
			if high>>63 == 1 {
				x = high
				logs[i] |= 1 << (depthBits - 1 - bit)
			} else {
				x = high<<1 | low>>63
			}
		}
	}
	logs[256] = 1 << depthBits
	return logs
}()
