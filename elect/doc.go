// Package elect decides who leads: heartbeats, candidates, claims, fencing, hand-over, forks,
// as a pure step machine. Events go in, effects come out. It reads no clock, opens no
// socket, starts nothing and draws no random numbers: the same events at the same
// times give the same effects. Beside it lies what needs no clock either: the comparison of
// two copies ([Compare], [Winner]), the beacons of discovery ([Beacon]) and the list of
// addresses to dial ([DialList]).
//
// # Phases
//
//	Waiting     no leader is known; a candidate when its turn comes
//	Following   a leader is obeyed
//	Asking      the veto round: when did you last hear the leader
//	Claiming    the epoch is promised here, then asked of everybody reachable
//	CatchingUp  the longest history of the lineage is pulled
//	Starting    the host makes the leader
//	Leading     ops may enter while the gate is open
//
// Waiting goes on to Asking when no leader is heard (silence, or on level Available
// refused redials), this node may lead, enough others were seen since the start, and all
// candidates before it in the order had Skew each. Asking goes back to Waiting if
// anybody hears a leader, if a copy is told that wins a fork with ours, or if there is no majority
// to be had where one is needed. Claiming goes back if a single answer refuses.
// Any phase goes to Following when a leader of an epoch not below the promise is heard, and to
// Waiting when an epoch above the own one is. A hand-over skips Asking: it has the consent
// of the leader, whose grant it then needs.
//
// # Events and effects
//
// Events: [Tick], [Local] (own copy and disk), [Remembered] (members), [PeerUp], [PeerDown],
// [PeerRefused], [Expelled], [Received]; the answers to effects: [Saved], [SaveFailed], [CaughtUp],
// [CatchUpFailed], [Ready], [LeadFailed], [SteppedDown], [Drained], [Resolved],
// [ResolveFailed]; what operators want: [Promote], [Demote], [Handover], [Cancel].
//
// Effects: [Send], [Save], [Gate], [Lead], [StepDown], [Follow], [CatchUp], [Drain], [Resolve],
// [Alarm], [AlarmOver], [Done].
//
// # The host
//
// What drives a machine has to keep this contract; the invariants rest on it.
//
//   - Steps: one goroutine calls Step and nothing else does. now is the boot-time
//     clock, which counts suspended time. Tick comes at least every half Heartbeat,
//     Local just before it, and nothing in the loop waits for a disk or a peer.
//   - Order: Send and Gate are done at once, in the order given. Save, Lead, StepDown,
//     Follow, CatchUp, Drain, Resolve are slow: one worker does them in the order given. So
//     Saved comes after a StepDown before it is complete. Saves that wait may be written as
//     one; Saved with the last Seq confirms all.
//   - Sessions: heartbeats travel on sessions of their own, never behind data. Messages of
//     an ended session are dropped. PeerUp comes before the first message of a session,
//     PeerDown after its last.
//     Those with a member that was removed are refused or ended.
//   - Gate: an op enters only while the last Gate is open and the clock is below Until,
//     looked at when the op gets its place in the log. Other calls wait, for a Gate that
//     opens, for Lead, or for Follow, and are then done here, or forwarded.
//   - Fencing: a session carries the epoch of its leader. From the moment a Save is seen,
//     sessions below its promise are refused with that promise, and none of their frames is
//     applied after Saved. Frames inside may be older, as the lineage says.
//   - StepDown: feeds end, running handlers come to their end, no op of that epoch is
//     acknowledged after SteppedDown. If handlers hang for longer than Pause, what they
//     still do is not acknowledged.
//   - Copies: what Local, Saved, CaughtUp, Drained and Resolved tell is the copy at that moment.
//     A copy in the middle of a first sync is not Consistent. A lineage once told is not changed.
//   - Lead: the epoch enters the log with the first op, as an OpReign with
//     the Participants given. Founding a volume is durable before Ready.
//   - Follow: the host joins the leader's data session and retries: it may stream, or take a
//     snapshot, only from a leader whose history contains this copy. Of all other copies
//     the machines say who resolves what, also of one in the
//     middle of its first sync. Follow, Lead and Save of a higher promise end a CatchUp.
//   - Resolve: the conflict record is complete and verified before anything is changed. The
//     host looks again whether the copy still ends where it did.
//   - Durable: fsync first sees to it that the own epoch is in the log, then waits until
//     [Members.DurableQuorum] members with the remembered store have the op on disk, by reports
//     received in this epoch. Otherwise an op of an older epoch could be durable and still lose
//     to a branch of an epoch in between.
//
// # Invariants
//
//	I1  one leader per epoch: a claim is above everything heard and promised, its promise is on disk
//	    before anybody hears of it, and it names its node and a random tag.
//	I2  nothing below the promise is applied: promises only grow, are saved before a grant is sent
//	    or a leader followed, and fence sessions. A leader that hears of a higher epoch shuts its
//	    gate as its first effect.
//	I3  equal position, equal log: one run of one node writes in an epoch (I1), from the position
//	    that it had when it led. Copies that contradict it raise an alarm and change nothing.
//	I4  a follower is a prefix: a copy that is not one of the leader's is resolved first, or the
//	    leader steps down and pulls what it lacks.
//	I5  nothing acknowledged is lost silently: catch-up from the longest history of all that
//	    granted; a fork's winner is computed alike on both sides; the loser resolves it by a record.
//	I6  fsynced on Durable is in the winning history: a claim needs a majority of members, which
//	    includes a store that has the op; [Winner] prefers what majorities claimed, later before
//	    earlier. A member with another store, or one that forgot a promise, does not count.
//	I7  a node that is empty, replaced or mid-reconcile never leads: see Machine.unfitWhy, asked
//	    before asking, claiming and leading.
//	I8  when faults stop there is one leader soon: higher epochs win, equal claims go to the
//	    lower ID, all waits are bounded.
//	I9  nothing is deleted because a joining node lacks it: an empty copy is a prefix of every
//	    other, so it never wins, and a founder never leads where others hold a volume.
//
// On the levels above Available there is one more: an op enters in one epoch at a time. The gate
// is open until Lease after the sending of what a majority answered; each of these refuses claims
// until Silence after what it answered, also across its own restart; Silence is longer
// than Lease by more than clocks drift. A hand-over needs the grant of the leader whose
// gate it shuts.
//
// # Formats
//
// Messages are drawn at [Encode], beacons at [Beacon]; docs/formats.md has both.
package elect
