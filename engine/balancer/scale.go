package balancer

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
)

// weighings counts the changes of weights of all channels, by which a picker sees
// that its scale is old.
var weighings atomic.Uint64

// scale is what the channels of a group weigh, sorted out ahead so that a choice
// need not look at all of them. It does not change.
//
// What a choice looks at of each channel lies side by side, class after class, the
// heaviest first: that is the one to be found soon.
type scale struct {
	weighings uint64
	slow      int64 // of the question
	until     int64 // from then on it is to be made anew
	classes   []class
	sum       uint64     // of all weights
	channels  []*Channel // those that have a weight
	idle      []int32    // those that have none

	// Of all channels, those without a weight last.
	members []int32
	weights []uint64 // as question.weight has them
	hashes  []uint64
}

// class is the channels of one weight, in the order of the group.
type class struct {
	weight   uint64 // of each, as question.weight has it
	rate     uint64 // the turns of all members in one cycle, below 1<<31
	upTo     uint64 // those of this class and all before it
	members  []int32
	channels []*Channel
}

// newScale weighs the channels. The weights are divided by what they have in
// common, so that a cycle is as short as it can be.
func newScale(channels []*Channel, ask question) *scale {
	s := &scale{weighings: weighings.Load(), slow: ask.slow, until: math.MaxInt64}
	weights := make([]uint64, len(channels))
	var divisor uint64
	for i, channel := range channels {
		weights[i] = ask.weight(channel, channel.state.Load())
		divisor = common(divisor, weights[i])
		s.sum += weights[i]
	}
	if ask.slow != 0 {
		for _, channel := range channels {
			if channel.state.Load()&warming == 0 {
				continue
			}
			if next := ask.nextStep(channel); next != 0 {
				s.until = min(s.until, next)
			}
		}
	}
	var shift uint64 // beyond some ten thousand channels the smallest weights are not exact
	for divisor > 0 && s.sum/divisor>>shift >= 1<<30 {
		shift++
	}
	classes := map[uint64]int{}
	for i, weight := range weights {
		if weight == 0 {
			s.idle = append(s.idle, int32(i))
			continue
		}
		k, known := classes[weight]
		if !known {
			k = len(s.classes)
			classes[weight] = k
			s.classes = append(s.classes, class{weight: weight})
		}
		s.classes[k].rate += max(weight/divisor>>shift, 1)
		s.classes[k].members = append(s.classes[k].members, int32(i))
	}
	var upTo uint64
	heaviest := make([]int, len(s.classes))
	for k := range s.classes {
		upTo += s.classes[k].rate
		s.classes[k].upTo = upTo
		heaviest[k] = k
	}
	slices.SortFunc(heaviest, func(a, b int) int { return cmp.Compare(s.classes[b].weight, s.classes[a].weight) })
	s.channels = make([]*Channel, 0, len(channels))
	for _, k := range heaviest {
		class := &s.classes[k]
		for _, i := range class.members {
			s.channels = append(s.channels, channels[i])
		}
		s.members = append(s.members, class.members...)
		class.channels = s.channels[len(s.channels)-len(class.members):]
	}
	s.members = append(s.members, s.idle...)
	for _, i := range s.members {
		s.weights = append(s.weights, weights[i])
		s.hashes = append(s.hashes, channels[i].hash)
	}
	return s
}

// common returns the greatest common divisor.
func common(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// weighed keeps the scale of a group.
type weighed struct {
	members
	scale atomic.Pointer[scale]
}

// weigh returns what the channels weigh now.
func (w *weighed) weigh(ask question) *scale {
	s := w.scale.Load()
	if s == nil || s.weighings != weighings.Load() || s.slow != ask.slow || ask.now >= s.until {
		s = newScale(w.channels, ask)
		w.scale.Store(s)
	}
	return s
}

// unweighted returns the first channel of weight 0 if everybody is asked for.
func (w *weighed) unweighted(s *scale, ask question) (number int32, channel *Channel) {
	if ask.obstacles&everyone == 0 {
		return 0, nil
	}
	for _, i := range s.idle {
		if !ask.tried.has(w.number(i)) {
			return i + 1, w.channels[i]
		}
	}
	return 0, nil
}
