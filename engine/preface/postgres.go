package preface

// Request is what a client of PostgreSQL may ask for before anything else, and
// before its ClientHello: encryption. The server answers with one byte.
type Request int

const (
	// NoRequest is all else: a StartupMessage, a CancelRequest, a ClientHello
	// without a question before it (sslnegotiation=direct), no PostgreSQL at all.
	NoRequest Request = iota
	// SSLRequest is answered with 'S', whereupon the client sends its ClientHello,
	// or with 'N'.
	SSLRequest
	// GSSENCRequest is answered with 'G' or with 'N', whereupon the client may go on
	// with an SSLRequest.
	GSSENCRequest
)

const (
	// PostgresSize is the size of a request, in bytes. A client sends nothing
	// behind it before it has the answer: bytes that do come are not under TLS, and
	// must not be taken for such as are.
	PostgresSize = 8

	// SSLRequestMessage are the bytes of an SSLRequest: a length of 8, and 80877103
	// (PostgreSQL, "Message Formats").
	SSLRequestMessage = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

	gssencRequestMessage = "\x00\x00\x00\x08\x04\xd2\x16\x30" // 80877104
)

// ReadPostgres says which request b begins with. ErrShort means that more bytes
// are needed; it is the only error.
func ReadPostgres(b []byte) (Request, error) {
	ssl, short1 := begins(b, SSLRequestMessage)
	gssenc, short2 := begins(b, gssencRequestMessage)
	switch {
	case short1 || short2:
		return NoRequest, ErrShort
	case ssl:
		return SSLRequest, nil
	case gssenc:
		return GSSENCRequest, nil
	}
	return NoRequest, nil
}
