package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/collector/packet"
)

// devices lists the interfaces, or skips where neither Npcap nor WinPcap is installed.
func devices(t *testing.T) []Device {
	t.Helper()
	list, err := Devices()
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestDevices(t *testing.T) {
	list := devices(t)
	if len(list) == 0 {
		t.Fatal("no interfaces")
	}
	for _, d := range list {
		t.Logf("%+v", d)
		if !strings.Contains(d.Name, "NPF_") {
			t.Errorf("name %q", d.Name)
		}
	}
}

// TestLiveWindows makes connections to this host (Wine has TCP, but no UDP that Go takes) and sees them on one of the interfaces; the filter leaves others out.
func TestLiveWindows(t *testing.T) {
	listeners := [2]net.Listener{}
	ports := [2]int{}
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listeners[i], ports[i] = l, l.Addr().(*net.TCPAddr).Port
	}
	filter, err := pcapfilter.Parse(fmt.Sprintf("tcp and not port %d", ports[1]))
	if err != nil {
		t.Fatal(err)
	}
	var seen, wrong atomic.Int64
	var running sync.WaitGroup
	var sources []*Live
	for _, dev := range devices(t) {
		l, err := OpenLive(func(o *LiveOptions) { o.Interface, o.Filter = dev.Name, filter })
		if err != nil {
			t.Logf("%s: %v", dev.Name, err)
			continue
		}
		sources = append(sources, l)
		running.Add(1)
		go func() {
			defer running.Done()
			d := packet.NewDecoder()
			err := l.Run(context.Background(), func(b *Batch) error {
				for i := range b.Frames {
					f := &b.Frames[i]
					var p packet.Packet
					if f.Decode(d, &p) != nil || p.Proto != packet.ProtoTCP || int(p.DstPort) == ports[1] || int(p.SrcPort) == ports[1] {
						wrong.Add(1)
					} else if int(p.DstPort) == ports[0] && string(p.Payload) == "over the wire" && time.Since(time.Unix(0, f.TimeNanos)).Abs() < 10*time.Minute {
						seen.Add(1)
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", dev.Name, err)
			}
		}()
	}
	if len(sources) == 0 {
		t.Fatal("no interface can be opened")
	}
	for end := time.Now().Add(time.Minute); seen.Load() == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, l := range listeners {
			c, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				_, err = c.Write([]byte("over the wire"))
				_ = c.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	var total Metrics
	for _, l := range sources {
		total.Packets += l.Metrics().Packets
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Run(context.Background(), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("run of a closed source: %v", err)
		}
	}
	running.Wait()
	if seen.Load() == 0 || wrong.Load() != 0 || total.Packets == 0 {
		t.Errorf("seen %d, that should not be %d, in all %+v", seen.Load(), wrong.Load(), total)
	}
}

func TestLiveWindowsErrors(t *testing.T) {
	devices(t)
	if _, err := OpenLive(func(o *LiveOptions) { o.Interface = "no such interface" }); !errors.Is(err, ErrNoInterface) {
		t.Error(err)
	}
	for name, o := range map[string]func(*LiveOptions){"any": func(*LiveOptions) {}, "selection": func(o *LiveOptions) { o.Select = &Selection{} }} {
		if _, err := OpenLive(o); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w, err := loadWpcap()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.call("pcap_no_such_function"); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "has no pcap_no_such_function") {
		t.Error(err)
	}
}
