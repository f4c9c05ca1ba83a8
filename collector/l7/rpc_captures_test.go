package l7

import (
	"path/filepath"
	"testing"
)

// TestRPCCapturesBroken plays our own captures of these protocols broken in all ways, as TestCorpusBroken does the reference
// captures: no request gets another's response, nothing is left behind.
func TestRPCCapturesBroken(t *testing.T) {
	for _, name := range []string{"dubbo", "sofarpc", "brpc", "thrift", "ntp", "ping"} {
		all := payloads(t, filepath.Join("testdata", "captures", name+".pcap"))
		whole, m := playPayloads(all, Options{}, false)
		if len(whole.exchanges) == 0 || m.ParseFailures+m.WrongSide+m.Unpaired+m.GaveUp != 0 {
			t.Errorf("%s: %d exchanges, %+v", name, len(whole.exchanges), m)
		}
		for variant, broken := range variants(all) {
			rec, m := playPayloads(broken, Options{}, false)
			if bad := wrongPairs(whole.exchanges, unframed(whole.exchanges, rec.exchanges)); bad != "" {
				t.Errorf("%s, %s: %s", name, variant, bad)
			}
			if m.Buffered != 0 || m.Pending != 0 || m.PendingBytes != 0 || m.Conns != 0 {
				t.Errorf("%s, %s: left behind %+v", name, variant, m)
			}
		}
	}
}

// unframed moves the sequence numbers of Thrift messages, whose frame's length is a segment of its own and may be missing, to
// where they would be with it.
func unframed(whole, got []Exchange) []Exchange {
	const length = 4
	begins := map[uint32]bool{}
	for i := range whole {
		begins[whole[i].RequestSeq], begins[whole[i].ResponseSeq] = true, true
	}
	for i := range got {
		for _, seq := range []*uint32{&got[i].RequestSeq, &got[i].ResponseSeq} {
			if got[i].Protocol == Thrift && !begins[*seq] && begins[*seq-length] {
				*seq -= length
			}
		}
	}
	return got
}
