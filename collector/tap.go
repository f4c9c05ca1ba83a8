package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/packet"
)

const (
	// Self and AllNamespaces are entries of Options.Namespaces.
	Self          = "self"
	AllNamespaces = "all"

	// listNamespaces is how often network namespaces that have come or gone are looked for.
	listNamespaces = 2 * time.Second
	// maxNamespaces bounds how many are captured in at a time, each with a ring of smallRing bytes.
	maxNamespaces = 256
	smallRing     = 4 << 20
)

// tap is a source and the worker that its frames go to.
type tap struct {
	source capture.Source
	worker *liveWorker
	// namespace is nil for the one that the collector itself is in.
	namespace *capture.Namespace
}

// liveWorker is a worker that its source's goroutine and a ticker share.
type liveWorker struct {
	mu sync.Mutex // guards w and place
	w  *worker
	// place is what w's rows refer to; it is replaced in place under mu.
	place *place
	// packets is nil when nobody wants them; namespace is where they come from.
	packets   PacketSink
	namespace string
}

func (w *liveWorker) frames(b *capture.Batch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.packets != nil {
		w.packets.Write(w.namespace, w.place.names, b.Frames)
	}
	return w.w.frames(b)
}

// seen is what taps have counted.
type seen struct {
	Capture capture.Metrics
	Decodes decodeCounts
	Flow    flow.Metrics
	Edges   EdgeMetrics
}

func (t *tap) seen() seen {
	s := seen{Capture: t.source.Metrics()}
	t.worker.mu.Lock()
	defer t.worker.mu.Unlock()
	s.Decodes, s.Flow = t.worker.w.decodes, t.worker.w.table.Metrics()
	if t.worker.w.edges != nil {
		s.Edges = t.worker.w.edges.m
	}
	return s
}

// close ends the source. The namespace is closed by who opened it for this tap alone; see drop and close of Collector.
func (t *tap) close() error { return t.source.Close() }

// failure keeps the first errors of several goroutines.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
}

// current are the taps there are now.
func (c *Collector) current() []*tap {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.taps)
}

// open opens what the options name.
func (c *Collector) open() error {
	if slices.ContainsFunc(c.o.Interfaces, capture.IsPattern) {
		var err error
		if c.selection, err = capture.ParseSelection(c.o.Interfaces); err != nil {
			return err
		}
	}
	if !capture.SharedSocket {
		if err := c.expand(); err != nil {
			return err
		}
	}
	for _, name := range c.o.Namespaces {
		if name == Self || name == AllNamespaces && !slices.Contains(c.o.Namespaces, Self) {
			if _, err := c.tapNamespace(nil, c.o.Workers, c.o.RingBytes); err != nil {
				return err
			}
			continue
		}
		if name == AllNamespaces {
			continue
		}
		n, err := capture.OpenNamespace(name)
		if err != nil {
			return err
		}
		if _, err := c.tapNamespace(n, c.o.Workers, c.o.RingBytes); err != nil {
			return errors.Join(err, n.Close())
		}
	}
	if slices.Contains(c.o.Namespaces, AllNamespaces) { // say now what is missing, not each time again
		list, err := capture.Namespaces()
		if err != nil {
			return err
		}
		for i, n := range list {
			if i == 0 {
				err = n.Do(func() error { return nil })
			}
			err = errors.Join(err, n.Close())
		}
		return err
	}
	return nil
}

// expand names the interfaces there are now that any or the patterns stand for, where a source captures on one only.
func (c *Collector) expand() error {
	s := c.selection
	if s == nil {
		if !slices.Contains(c.o.Interfaces, capture.AnyInterface) {
			return nil
		}
		var err error
		if s, err = capture.ParseSelection(nil); err != nil {
			return err
		}
	}
	devices, err := capture.Devices()
	if err != nil {
		return err
	}
	c.selection, c.o.Interfaces, c.expanded = nil, nil, true
	for i := range devices {
		if d := &devices[i]; d.Up && d.Matches(s) {
			c.o.Interfaces = append(c.o.Interfaces, d.Name)
		}
	}
	if len(c.o.Interfaces) == 0 {
		return fmt.Errorf("%w that is up and selected", capture.ErrNoInterface)
	}
	return nil
}

// tapNamespace opens the interfaces in a network namespace, nil for the thread's own, and returns their taps. On success the
// taps own the namespace.
func (c *Collector) tapNamespace(n *capture.Namespace, workers, ring int) ([]*tap, error) {
	names := c.o.Interfaces
	if c.selection != nil {
		names = []string{""}
	}
	var taps []*tap
	var left error // why interfaces are left out
	fail := func(err error) ([]*tap, error) {
		for _, t := range taps {
			err = errors.Join(err, t.close())
		}
		return nil, err
	}
	for _, name := range names {
		live, err := capture.OpenFanout(workers, func(l *capture.LiveOptions) {
			l.Interface, l.Select, l.Namespace, l.Filter = name, c.selection, n, c.o.Filter
			l.Exclude, l.SnapBytes, l.Promiscuous = c.o.Exclude, c.o.SnapBytes, c.o.Promiscuous
			l.BlockBytes = min(1<<20, ring/8)
			l.BlockBytes = max(l.BlockBytes&^(64<<10-1), 64<<10) // a multiple of any page size
			l.Blocks = max(ring/l.BlockBytes, 2)
		})
		if err != nil && c.expanded && !errors.Is(err, capture.ErrPermission) {
			left = errors.Join(left, err) // one that was not named need not work
			continue
		}
		if err != nil {
			return fail(err)
		}
		for _, l := range live {
			t, err := c.newTap(l, n)
			if err != nil {
				return fail(errors.Join(err, l.Close()))
			}
			taps = append(taps, t)
		}
	}
	if left != nil {
		if len(taps) == 0 {
			return nil, left
		}
		c.o.Error(fmt.Errorf("interfaces are left out: %w", left))
	}
	c.mu.Lock()
	c.taps = append(c.taps, taps...)
	c.mu.Unlock()
	return taps, nil
}

// newTap makes the worker of a source.
func (c *Collector) newTap(s capture.Source, n *capture.Namespace) (_ *tap, err error) {
	w := &liveWorker{place: &place{agent: c.o.Agent}, packets: c.o.Packets}
	if n != nil {
		w.namespace = n.Name()
	}
	if w.w, err = newWorker(c.o.Tables, w.place, c.o.Tags, c.o.Flow, c.enqueue); err != nil {
		return nil, err
	}
	return &tap{s, w, n}, nil
}

// close closes all taps and their namespaces.
func (c *Collector) close() error {
	var errs []error
	closed := map[*capture.Namespace]bool{nil: true}
	for _, t := range c.current() {
		errs = append(errs, t.close())
		if !closed[t.namespace] {
			closed[t.namespace] = true
			errs = append(errs, t.namespace.Close())
		}
	}
	return errors.Join(errs...)
}

// roam captures in the network namespaces that come, and stops to in those that go, until ctx ends.
func (c *Collector) roam(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	r := &roamer{c: c, taken: map[uint64]func(){}, failed: map[uint64]bool{}}
	for _, t := range c.current() {
		if t.namespace != nil { // named by the options, too
			r.taken[t.namespace.ID()] = func() {}
		}
	}
	look := time.NewTicker(listNamespaces)
	defer look.Stop()
	for {
		list, err := capture.Namespaces()
		if err != nil {
			c.o.Error(err)
		} else {
			r.follow(ctx, list, &running)
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// roamer knows in which namespaces there are taps.
type roamer struct {
	c *Collector
	// taken ends the taps of a namespace; failed ones could not be captured in, and are not tried again.
	taken  map[uint64]func()
	failed map[uint64]bool
}

// follow makes taps in new namespaces, and ends those whose namespace is no longer there: only the tap itself keeps it.
func (r *roamer) follow(ctx context.Context, list []*capture.Namespace, running *sync.WaitGroup) {
	there := map[uint64]bool{}
	for _, n := range list {
		there[n.ID()] = true
		if r.taken[n.ID()] != nil || r.failed[n.ID()] || !r.start(ctx, n, running) {
			_ = n.Close() // it was only looked at
		}
	}
	for id, end := range r.taken {
		if !there[id] {
			end()
			delete(r.taken, id)
		}
	}
	maps.DeleteFunc(r.failed, func(id uint64, _ bool) bool { return !there[id] })
}

// start makes the taps of a namespace, which they then own; false when there are none.
func (r *roamer) start(ctx context.Context, n *capture.Namespace, running *sync.WaitGroup) bool {
	c := r.c
	err := fmt.Errorf("there are more than %d of them", maxNamespaces)
	var taps []*tap
	if len(r.taken) < maxNamespaces {
		taps, err = c.tapNamespace(n, 1, min(c.o.RingBytes, smallRing))
	}
	if errors.Is(err, capture.ErrNoInterface) {
		return false // it may come; the next look will tell
	}
	if err != nil {
		r.failed[n.ID()] = true
		c.o.Error(fmt.Errorf("network namespace %s is left out: %w", n.Name(), err))
		return false
	}
	for _, t := range taps {
		c.lookAround(t)
	}
	here, end := context.WithCancel(ctx)
	r.taken[n.ID()] = end
	var all sync.WaitGroup
	for _, t := range taps {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := t.source.Run(here, t.worker.frames); err != nil && here.Err() == nil {
				c.o.Error(fmt.Errorf("capture in network namespace %s has ended: %w", n.Name(), err))
			}
		}()
	}
	running.Add(1)
	go func() {
		defer running.Done()
		defer end()
		all.Wait()
		if ctx.Err() != nil {
			return // the collector ends as a whole, and reports what these have
		}
		c.drop(taps, n)
	}()
	return true
}

// drop takes taps out that have come to their end, and reports the flows they have.
func (c *Collector) drop(taps []*tap, n *capture.Namespace) {
	for _, t := range taps {
		t.worker.mu.Lock()
		t.worker.w.table.Report(time.Now().UnixNano())
		_ = t.worker.w.seal() // enqueue counts what it drops
		t.worker.mu.Unlock()
		err := t.close()
		c.mu.Lock()
		s := t.seen()
		addFields(&c.gone, &s)
		c.taps = slices.DeleteFunc(c.taps, func(o *tap) bool { return o == t })
		c.mu.Unlock()
		if err != nil {
			c.o.Error(err)
		}
	}
	if err := n.Close(); err != nil {
		c.o.Error(err)
	}
}

// refresh looks up addresses and names of interfaces, where each tap is.
func (c *Collector) refresh() {
	for _, t := range c.current() {
		c.lookAround(t)
	}
}

func (c *Collector) lookAround(t *tap) {
	var local map[packet.Addr]bool
	var names map[uint32]string
	look := func() (err error) {
		local, names, err = hostPlace()
		return err
	}
	var err error
	if t.namespace == nil {
		err = look()
	} else if err = t.namespace.Do(look); err == nil {
		for i, name := range names {
			names[i] = t.namespace.Name() + "/" + name
		}
	}
	switch {
	case errors.Is(err, os.ErrClosed): // the tap has just ended
		return
	case err != nil:
		c.o.Error(fmt.Errorf("look up interfaces: %w", err))
		return
	}
	t.worker.mu.Lock()
	defer t.worker.mu.Unlock()
	t.worker.place.local, t.worker.place.names = local, names
	if t.worker.w.edges != nil {
		t.worker.w.edges.moved()
	}
}

func hostPlace() (map[packet.Addr]bool, map[uint32]string, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	names := make(map[uint32]string, len(ifaces))
	for _, i := range ifaces {
		names[uint32(i.Index)] = i.Name
	}
	addrs, err := LocalAddrs()
	if err != nil {
		return nil, nil, err
	}
	local := make(map[packet.Addr]bool, len(addrs))
	for _, a := range addrs {
		local[packet.Addr(a.As16())] = true
	}
	return local, names, nil
}
