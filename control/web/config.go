package web

import (
	"net/http"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// configuration is what /api/v1/config answers. It has the shape and the keys
// of the file; settings of [defaults] stand in each listener.
type configuration struct {
	Defaults daemonConfig     `json:"defaults"`
	Process  processConfig    `json:"process"`
	Log      logConfig        `json:"log"`
	Control  controlConfig    `json:"control"`
	Listener []listenerConfig `json:"listener"`
}

type daemonConfig struct {
	ShutdownTimeout string         `json:"shutdown_timeout"`
	DataPlane       spec.DataPlane `json:"data_plane"`
	Loops           int            `json:"loops"`
}

type processConfig struct {
	MaxSessions int       `json:"max_sessions"`
	MaxBuffered spec.Size `json:"max_buffered"`
}

type logConfig struct {
	Level    spec.LogLevel  `json:"level"`
	Format   spec.LogFormat `json:"format"`
	Sessions bool           `json:"sessions"`
}

type controlConfig struct {
	Watch         bool          `json:"watch"`
	Mode          spec.FileMode `json:"mode"`
	Group         string        `json:"group"`
	ReadGroup     string        `json:"read_group"`
	StatsFile     string        `json:"stats_file"`
	HTTP          string        `json:"http"`
	HTTPTokenFile string        `json:"http_token_file"`
	PProf         bool          `json:"pprof"`
}

type listenerConfig struct {
	Name             string           `json:"name"`
	Listen           []string         `json:"listen"`
	Source           string           `json:"source"`
	ConnectTimeout   string           `json:"connect_timeout"`
	IdleTimeout      string           `json:"idle_timeout"`
	HalfCloseTimeout string           `json:"half_close_timeout"`
	KeepAlive        string           `json:"keepalive"`
	UserTimeout      spec.UserTimeout `json:"user_timeout"`
	AutoDisable      bool             `json:"auto_disable"`
	HashFailover     bool             `json:"hash_failover"`
	OnRemove         spec.OnRemove    `json:"on_remove"`
	DrainTimeout     string           `json:"drain_timeout"`
	Group            []groupConfig    `json:"group"`
}

type groupConfig struct {
	Mode     balancer.Mode   `json:"mode"`
	Channels []channelConfig `json:"channels"`
}

type channelConfig struct {
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	MaxConns int    `json:"maxc"`
	Disabled bool   `json:"disabled"`
}

func (d *Daemon) serveConfig(w http.ResponseWriter, _ *http.Request) {
	c := d.Engine.Config()
	if c == nil {
		http.Error(w, "no configuration is in force yet", http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, configurationOf(c))
}

func configurationOf(c *spec.Config) configuration {
	view := configuration{
		Defaults: daemonConfig{c.ShutdownTimeout.String(), c.DataPlane, c.Loops},
		Process:  processConfig(c.Process),
		Log:      logConfig(c.Log),
		Control:  controlConfig(c.Control),
	}
	for i := range c.Listeners {
		view.Listener = append(view.Listener, configurationOfListener(&c.Listeners[i]))
	}
	return view
}

func configurationOfListener(l *spec.Listener) listenerConfig {
	view := listenerConfig{
		Name:             l.Name,
		Listen:           l.Listen,
		ConnectTimeout:   l.ConnectTimeout.String(),
		IdleTimeout:      l.IdleTimeout.String(),
		HalfCloseTimeout: l.HalfCloseTimeout.String(),
		KeepAlive:        l.KeepAlive.String(),
		UserTimeout:      l.UserTimeout,
		AutoDisable:      l.AutoDisable,
		HashFailover:     l.HashFailover,
		OnRemove:         l.OnRemove,
		DrainTimeout:     l.DrainTimeout.String(),
	}
	if l.Source.IsValid() {
		view.Source = l.Source.String()
	}
	for _, g := range l.Groups {
		group := groupConfig{Mode: g.Mode}
		for _, c := range g.Channels {
			group.Channels = append(group.Channels, channelConfig(c))
		}
		view.Group = append(view.Group, group)
	}
	return view
}
