package control

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
)

// pieceSize is how many bytes of a file go into one request, as base64.
const pieceSize = 3000

// sendFile sends a file, in pieces, for apply to take. It is this client that
// opens the file, with the rights of its user.
func (c *Client) sendFile(path string) (lines []string, status Status, err error) {
	data, err := readToSend(path)
	if err != nil {
		return []string{printable(err.Error())}, Failed, nil
	}
	for first := true; first || len(data) > 0; first = false {
		n := min(len(data), pieceSize)
		lines, status, err = c.Ask(fmt.Sprintf("piece %q", base64.StdEncoding.EncodeToString(data[:n])))
		if status != OK || err != nil {
			return lines, status, err
		}
		data = data[n:]
	}
	return nil, OK, nil
}

// readToSend reads all of a file that is no larger than a daemon takes.
func readToSend(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSent+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSent {
		return nil, fmt.Errorf("read %q: it is larger than %d bytes", path, MaxSent)
	}
	return data, nil
}
