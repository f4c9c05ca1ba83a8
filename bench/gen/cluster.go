package gen

import (
	"slices"
	"sort"
)

const (
	// services is the number of services. Which one a pod belongs to follows from its number alone (serviceOf).
	services = 1000
	// slotBits is how many bits of a tag-set id say which pod it is; the others count its restarts.
	slotBits = 20
	maxPods  = 1<<slotBits - 1
)

// podID is the tag-set id of the pod in a slot after so many restarts. No pod has id 0.
func podID(slot int, restarts uint32) uint32 { return restarts<<slotBits | uint32(slot+1) }

// podSlot is the slot of a pod.
func podSlot(id uint32) int { return int(id&maxPods) - 1 }

// serviceOf is the service of the pods of a slot: the k-th service has a part of all slots that is proportional to 1/k.
func serviceOf(slot int) int {
	u := float64(mix(uint64(slot)*0x9e3779b97f4a7c15+1)>>11) / (1 << 53)
	return sort.SearchFloat64s(serviceParts[:], u*serviceParts[services-1])
}

// serviceParts are sums of 1/k.
var serviceParts = func() (parts [services]float64) {
	sum := 0.0
	for k := range parts {
		sum += 1 / float64(k+1)
		parts[k] = sum
	}
	return parts
}()

// app is what the pods of a service speak.
type app struct {
	l7, protocol string
	port         int64
	tls          bool
}

var apps = [...]app{
	{"http", "tcp", 8080, false}, {"grpc", "tcp", 9090, false}, {"http", "tcp", 80, false}, {"redis", "tcp", 6379, false},
	{"mysql", "tcp", 3306, false}, {"", "tcp", 443, true}, {"grpc", "tcp", 50051, false}, {"http", "tcp", 3000, false},
	{"kafka", "tcp", 9092, false}, {"postgresql", "tcp", 5432, false}, {"dns", "udp", 53, false}, {"http", "tcp", 8443, true},
}

func appOf(service int) *app { return &apps[service%len(apps)] }

// callees is how many services a service calls at most.
const callees = 8

// cluster is the pods, where they run and who calls whom.
type cluster struct {
	rnd      rnd
	service  []uint16 // by slot
	restarts []uint32 // by slot
	agent    []uint16 // by slot: the node that it runs on
	byAgent  [][]int32
	of       [services][]int32 // slots of a service
	calls    [services][]uint16
	callers  [services][]uint16
}

func newCluster(o *Options) *cluster {
	c := &cluster{rnd: newRnd(o.Seed, 1), service: make([]uint16, o.Pods), restarts: make([]uint32, o.Pods),
		agent: make([]uint16, o.Pods), byAgent: make([][]int32, o.Agents)}
	for slot := range o.Pods {
		s, a := serviceOf(slot), slot%o.Agents
		c.service[slot], c.agent[slot] = uint16(s), uint16(a)
		c.of[s] = append(c.of[s], int32(slot))
		c.byAgent[a] = append(c.byAgent[a], int32(slot))
	}
	for s := range c.calls {
		if len(c.of[s]) == 0 {
			continue
		}
		for range 2 + c.rnd.below(callees-1) {
			// the service of any pod: those with many are called by many
			callee := c.service[c.rnd.below(o.Pods)]
			if !slices.Contains(c.calls[s], callee) {
				c.calls[s] = append(c.calls[s], callee)
				c.callers[callee] = append(c.callers[callee], uint16(s))
			}
		}
	}
	return c
}

// pod is the id of the pod that runs in a slot now.
func (c *cluster) pod(slot int32) uint32 { return podID(int(slot), c.restarts[slot]) }

// alive says whether a pod has not restarted since.
func (c *cluster) alive(id uint32) bool { return c.restarts[podSlot(id)] == id>>slotBits }

// restart gives so many pods, on average, a new life.
func (c *cluster) restart(pods float64) {
	n := int(pods)
	if c.rnd.chance(pods - float64(n)) {
		n++
	}
	for range n {
		slot := c.rnd.below(len(c.restarts))
		c.restarts[slot] = (c.restarts[slot] + 1) & (1<<(32-slotBits) - 1)
	}
}

// called is a slot that the pods of a service call: of the services that it calls the first ones most.
func (c *cluster) called(r *rnd, service uint16) int32 {
	all := c.calls[service]
	k := min(r.below(len(all)), r.below(len(all)))
	return c.replica(r, all[k])
}

// calling is a slot whose pods call a service.
func (c *cluster) calling(r *rnd, service uint16) int32 {
	all := c.callers[service]
	if len(all) == 0 {
		return int32(r.below(len(c.service)))
	}
	return c.replica(r, all[r.below(len(all))])
}

func (c *cluster) replica(r *rnd, service uint16) int32 {
	of := c.of[service]
	return of[r.below(len(of))]
}

// ends are the pods of a connection that the collector on agent's node sees, at the client's side or the server's.
func (c *cluster) ends(r *rnd, agent uint16, atClient bool) (client, server uint32) {
	local := c.byAgent[agent]
	slot := local[r.below(len(local))]
	if atClient {
		return c.pod(slot), c.pod(c.called(r, c.service[slot]))
	}
	return c.pod(c.calling(r, c.service[slot])), c.pod(slot)
}

// podIP is the address of a pod: of its node's network, another one after a restart. No two pods that run have the same.
func podIP(id uint32) (ip [16]byte) {
	slot := podSlot(id)
	node, nth := slot%defaultAgents, slot/defaultAgents
	return [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: byte(node) | byte(id>>slotBits)<<6, 14: byte(nth >> 8), 15: byte(nth)}
}
