package node

import (
	"context"
	"net/url"
	"testing"

	"wolfdisk/node/admin"
	"wolfdisk/volume"
)

// A member may be removed again and again, taken up again, and removed once more; each is done when it
// returns. Whom nobody has heard of cannot be removed.
func TestMemberAgain(t *testing.T) {
	n, _ := leadingNode(t)
	member := func(do, id string) (line admin.MemberLine, err error) {
		err = n.memberVerb(context.Background(), url.Values{"do": {do}, "id": {id}}, func(v any) error {
			line = v.(admin.MemberLine)
			return nil
		})
		return line, err
	}
	for _, do := range []string{"add", "add", "remove", "remove", "add", "remove"} {
		line, err := member(do, "c")
		if err != nil || line.ID != "c" || line.Removed != (do == "remove") {
			t.Errorf("%s: %+v, %v", do, line, err)
		}
		if got := n.members(); len(got) != 1 || got[0].Removed != (do == "remove") {
			t.Errorf("after %s: %+v", do, got)
		}
	}
	_, err := member("remove", "d")
	wantKind(t, "one that nobody knows", err, volume.NotFound)
}
