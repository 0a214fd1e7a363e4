package web

// serve starts a server on a port that the kernel picks.
func (r *rig) serve() *Server {
	r.Helper()
	s := NewServer(r.daemon, r.logger())
	r.Cleanup(s.Close)
	finish, err := s.Prepare(Settings{Address: "127.0.0.1:0"})
	if err != nil {
		r.Fatal(err)
	}
	finish(true)
	return s
}
