package control

import (
	"context"
	"os/user"
	"strconv"
	"time"

	"balance/engine"
	"balance/patience"
)

// userPatience is for the database of users, which may be on the network
// (nsswitch.conf(5)).
var userPatience = patience.New(time.Second, 4)

// by returns who the client is. The name of the user is looked up once; one that
// cannot be had in a second is left out.
func (c *conversation) by() engine.Actor {
	if c.actor.Door == "" {
		c.actor = actorOf(c.client, userName)
	}
	return c.actor
}

func actorOf(client credentials, name func(uid int) (string, error)) engine.Actor {
	actor := engine.Actor{UID: -1, Door: "control"}
	if client.known {
		actor.UID = client.uid
		found, err := patience.Within(context.Background(), userPatience, func() (string, error) { return name(client.uid) })
		if err == nil {
			actor.Name = printable(found)
		}
	}
	return actor
}

func userName(uid int) (string, error) {
	found, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "", err
	}
	return found.Username, nil
}
