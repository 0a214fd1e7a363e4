package config

import "balance/engine/spec"

// key is one key of a table of the file. field returns a pointer to what the
// key sets: *time.Duration, *bool, *int, *string, or an encoding.TextUnmarshaler that is set
// with a word.
type key[T any] struct {
	name  string
	field func(*T) any
}

// settings may stand in [defaults] and in each [[listener]].
var settings = []key[spec.Listener]{
	{"connect_timeout", func(l *spec.Listener) any { return &l.ConnectTimeout }},
	{"idle_timeout", func(l *spec.Listener) any { return &l.IdleTimeout }},
	{"half_close_timeout", func(l *spec.Listener) any { return &l.HalfCloseTimeout }},
	{"keepalive", func(l *spec.Listener) any { return &l.KeepAlive }},
	{"user_timeout", func(l *spec.Listener) any { return &l.UserTimeout }},
	{"auto_disable", func(l *spec.Listener) any { return &l.AutoDisable }},
	{"hash_failover", func(l *spec.Listener) any { return &l.HashFailover }},
	{"on_remove", func(l *spec.Listener) any { return &l.OnRemove }},
	{"drain_timeout", func(l *spec.Listener) any { return &l.DrainTimeout }},
}

// daemonSettings stand in [defaults] only.
var daemonSettings = []key[spec.Config]{
	{"shutdown_timeout", func(c *spec.Config) any { return &c.ShutdownTimeout }},
	{"data_plane", func(c *spec.Config) any { return &c.DataPlane }},
	{"loops", func(c *spec.Config) any { return &c.Loops }},
}

var processSettings = []key[spec.Process]{
	{"max_sessions", func(p *spec.Process) any { return &p.MaxSessions }},
	{"max_buffered", func(p *spec.Process) any { return &p.MaxBuffered }},
}

var logSettings = []key[spec.Log]{
	{"level", func(l *spec.Log) any { return &l.Level }},
	{"format", func(l *spec.Log) any { return &l.Format }},
	{"sessions", func(l *spec.Log) any { return &l.Sessions }},
}

var controlSettings = []key[spec.Control]{
	{"watch", func(c *spec.Control) any { return &c.Watch }},
	{"mode", func(c *spec.Control) any { return &c.Mode }},
	{"group", func(c *spec.Control) any { return &c.Group }},
	{"read_group", func(c *spec.Control) any { return &c.ReadGroup }},
	{"stats_file", func(c *spec.Control) any { return &c.StatsFile }},
	{"http", func(c *spec.Control) any { return &c.HTTP }},
	{"http_token_file", func(c *spec.Control) any { return &c.HTTPTokenFile }},
	{"pprof", func(c *spec.Control) any { return &c.PProf }},
}

// The tables of the file, by the keys that lead to them.
const (
	root          = ""
	defaultsTable = "defaults"
	processTable  = "process"
	logTable      = "log"
	controlTable  = "control"
	listenerTable = "listener"
	groupTable    = "listener.group"
	channelTable  = "listener.group.channels"
)

// known holds the names of all keys of each table.
var known = map[string][]string{
	root:          {"defaults", "process", "log", "control", "listener"},
	defaultsTable: append(names(settings), names(daemonSettings)...),
	processTable:  names(processSettings),
	logTable:      names(logSettings),
	controlTable:  names(controlSettings),
	listenerTable: append([]string{"name", "listen", "source", "group"}, names(settings)...),
	groupTable:    {"mode", "channels"},
	channelTable:  {"host", "port", "maxc", "disabled"},
}

func names[T any](keys []key[T]) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.name)
	}
	return all
}
