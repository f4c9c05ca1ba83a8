package gen

import (
	"fmt"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// manyValues is the number of values of the tags host, container and version, which have 16 characters each.
const manyValues = 5000

// PodTags is the encoded tag set of the pod that a batch's tag-set id stands for: 18 tags as Kubernetes and a cloud give
// them, of one to 5,000 values but for the pod's name, which no other pod has. Sets of different ids differ.
func PodTags(id uint32) []byte {
	slot, restarts := podSlot(id), int(id>>slotBits)
	service := serviceOf(slot)
	team, node := service%12, slot%defaultAgents
	hex := func(of string, v int) string { return fmt.Sprintf("%014x", mix(uint64(v)+uint64(of[0])<<32)>>8) }
	return tags.AppendSet(nil,
		tags.Tag{Key: "region", Value: fmt.Sprintf("eu-west-%d", node%2)},
		tags.Tag{Key: "az", Value: fmt.Sprintf("eu-west-%d%c", node%2, 'a'+node%3)},
		tags.Tag{Key: "vpc", Value: fmt.Sprintf("vpc-%d", node%4)},
		tags.Tag{Key: "subnet", Value: fmt.Sprintf("subnet-%02d", node%24)},
		tags.Tag{Key: "cluster", Value: fmt.Sprintf("prod-%d", node%5)},
		tags.Tag{Key: "node", Value: nodeName(node)},
		tags.Tag{Key: "host", Value: "i-" + hex("host", slot%manyValues)},
		tags.Tag{Key: "namespace", Value: fmt.Sprintf("team-%02d", team)},
		tags.Tag{Key: "workload", Value: serviceName(service)},
		tags.Tag{Key: "workload_kind", Value: "deployment"},
		tags.Tag{Key: "service", Value: serviceName(service)},
		tags.Tag{Key: "pod", Value: fmt.Sprintf("svc-%03d-7d9f8b6c5-%05x%02x", service, slot, restarts)},
		tags.Tag{Key: "container", Value: "c-" + hex("container", (slot+restarts)%manyValues)},
		tags.Tag{Key: "app", Value: serviceName(service)},
		tags.Tag{Key: "version", Value: "v-" + hex("version", (service*5+slot%5+restarts)%manyValues)},
		tags.Tag{Key: "team", Value: fmt.Sprintf("team-%02d", team)},
		tags.Tag{Key: "tier", Value: [...]string{"frontend", "backend", "data"}[service%3]},
		tags.Tag{Key: "env", Value: "production"},
	)
}

// serviceName is the name of a service, which its workload and app have too.
func serviceName(service int) string { return fmt.Sprintf("svc-%03d", service) }

// nodeName is the name of a node, and of the collector on it.
func nodeName(agent int) string { return fmt.Sprintf("node-%02d", agent) }

// ByValue gives the tag-set columns of a batch, which hold ids, the form in which rows arrive: codes into a dictionary of
// the sets that set returns.
func ByValue(b *batch.Batch, set func(id uint32) []byte) {
	for col, v := range b.Cols {
		if v == nil || v.Type != schema.TagSet || v.Dict != nil {
			continue
		}
		var dict batch.DictBuilder
		var known coder
		var entry []uint32 // of the dictionary, by the code of an id
		codes := make([]uint32, len(v.Codes))
		known.reset(len(codes))
		for i, id := range v.Codes {
			c, isNew := known.code(uint64(id))
			if isNew {
				entry = append(entry, dict.Code(set(id)))
			}
			codes[i] = entry[c]
		}
		b.Cols[col] = &batch.Vector{Type: schema.TagSet, Codes: codes, Dict: dict.Seal()}
	}
}
