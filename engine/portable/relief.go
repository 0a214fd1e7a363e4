package portable

import "balance/engine/plane"

// relieve ends the sessions that have been stuck longest.
func (p *Plane) relieve(budget *plane.Budget) {
	var suspects []plane.Stuck[*session]
	now, kept, n := p.Now(), budget.Kept(), 0
	for _, s := range p.all() {
		if bytes, stuckFor := s.stuck(now); bytes > 0 {
			suspects = append(suspects, plane.Stuck[*session]{Session: s, Bytes: bytes, For: stuckFor})
		}
	}
	for _, victim := range plane.MostStuck(budget, suspects) {
		if victim.Session.abort(plane.Overfull, nil) {
			n++
		}
	}
	if n > 0 {
		p.options.Overfull(n, kept)
	}
}
