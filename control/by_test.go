package control

import (
	"errors"
	"os"
	"os/user"
	"testing"
	"testing/synctest"
)

func TestWhoAClientIs(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	named := func(int) (string, error) { return "ann\x1b[2J", nil }
	nobody := func(int) (string, error) { return "", errors.New("unknown userid") }
	for _, c := range []struct {
		client credentials
		name   func(int) (string, error)
		want   string
	}{
		{credentials{known: true, uid: 7}, named, `ann\u001b[2J (7), control`},
		{credentials{known: true, uid: 7}, nobody, "7, control"},
		{credentials{known: true, uid: os.Getuid()}, userName, me.Username + " (" + me.Uid + "), control"},
		{credentials{}, named, "control"},
	} {
		if got := actorOf(c.client, c.name).String(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.client, got, c.want)
		}
	}
}

func TestUserDatabaseThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		got := actorOf(credentials{known: true, uid: 7}, func(int) (string, error) {
			<-answer
			return "ann", nil
		})
		if got.String() != "7, control" {
			t.Errorf("%q", got)
		}
		close(answer)
		synctest.Wait()
	})
}
