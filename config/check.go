package config

import "balance/engine/spec"

// checks is what tables of checks come to, from the outermost one inwards.
type checks struct {
	spec.Check
	typed  bool // one of them has a type
	inside bool // one further inside has a type, or a fault
	wrong  bool // one of them has a fault
}

// check reads the table of a check in t over what those around t say: the nearest
// table that has a key wins. Values are checked where they stand, so that a fault
// is not found again in each group, and one that is wrong is left out.
//
// A key that is of no use to the type is a fault where it stands with the type, and
// one that is of no use without tls where it stands with either, unless it says
// the default. From a table further out it is left alone: there it may serve other
// groups.
func (d *decoder) check(t table, kind spec.Table, outer checks) checks {
	found := len(d.list)
	t = t.table(kind)
	has := func(key spec.Key) bool { _, ok := t.values[key.Name()]; return ok }
	c, preset := outer, spec.DefaultCheck()
	read(t, spec.CheckSettings, &c.Check)
	for _, s := range spec.CheckSettings {
		if problem := s.Problem(&c.Check); has(s.Key) && problem != "" {
			t.fault(s.Name(), "%s", problem)
			s.Set(&c.Check, &outer.Check)
		}
	}
	typed := has(spec.KeyCheckType)
	c.typed, c.inside = outer.typed || typed, false
	for _, s := range spec.CheckSettings {
		by, useless := c.Useless(s.Key)
		switch {
		case !useless || !has(s.Key) || value(s.Field(&c.Check)) == value(s.Field(&preset)):
		case c.Type == spec.CheckNone || d.covers(t.path.Key(spec.KeyCheckType)):
		case by == spec.KeyCheckType && typed:
			t.fault(s.Name(), "%s is of no use to type %q", s.Name(), c.Type)
		case by == spec.KeyTLS && (typed || has(by)):
			t.fault(s.Name(), "%s is of no use without tls = true", s.Name())
		}
	}
	c.wrong = outer.wrong || len(d.list) > found
	return c
}

// groupCheck is check for the table in a group, the last one.
func (d *decoder) groupCheck(t table, outer *checks) spec.Check {
	c := d.check(t, spec.GroupCheckTable, *outer)
	if !c.typed && !c.wrong {
		c.wrong = d.untyped(t, c)
	}
	if outer.wrong {
		d.cover(t.path.Key(spec.KeyCheck))
	}
	outer.inside = outer.inside || c.typed || c.wrong
	return c.Plain()
}

// untyped reports a table of a check in t that says something, if neither it nor one
// around or inside it has a type.
func (d *decoder) untyped(t table, c checks) bool {
	values, _ := t.values[spec.KeyCheck.Name()].(map[string]any)
	if len(values) == 0 || c.typed || c.inside || c.wrong {
		return false
	}
	d.add(t.path.Key(spec.KeyCheck).Key(spec.KeyCheckType), t.where+" check", "type is missing: without one nothing is checked")
	return true
}
