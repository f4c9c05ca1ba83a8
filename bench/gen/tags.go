package gen

import (
	"fmt"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// PodTags is the encoded tag set of the pod that a batch's tag-set id stands for: 18 tags as Kubernetes and a cloud give
// them, of few to many values.
func PodTags(id uint32) []byte {
	i, service := int(id), int(id)/20
	team := service % 12
	return tags.AppendSet(nil,
		tags.Tag{Key: "region", Value: fmt.Sprintf("eu-west-%d", i%2)},
		tags.Tag{Key: "az", Value: fmt.Sprintf("eu-west-%d%c", i%2, 'a'+i%3)},
		tags.Tag{Key: "vpc", Value: fmt.Sprintf("vpc-%d", i%4)},
		tags.Tag{Key: "subnet", Value: fmt.Sprintf("subnet-%02d", i%24)},
		tags.Tag{Key: "cluster", Value: fmt.Sprintf("prod-%d", i%5)},
		tags.Tag{Key: "node", Value: fmt.Sprintf("ip-10-0-%d-%d", i%8, i%64)},
		tags.Tag{Key: "host", Value: fmt.Sprintf("i-%016x", 0x9e3779b97f4a7c15*uint64(i%64))},
		tags.Tag{Key: "namespace", Value: fmt.Sprintf("team-%02d", team)},
		tags.Tag{Key: "workload", Value: fmt.Sprintf("svc-%03d", service)},
		tags.Tag{Key: "workload_kind", Value: "deployment"},
		tags.Tag{Key: "service", Value: fmt.Sprintf("svc-%03d", service)},
		tags.Tag{Key: "pod", Value: fmt.Sprintf("svc-%03d-7d9f8b6c5-%05x", service, i)},
		tags.Tag{Key: "container", Value: "app"},
		tags.Tag{Key: "app", Value: fmt.Sprintf("svc-%03d", service)},
		tags.Tag{Key: "version", Value: fmt.Sprintf("v1.%d.%d", service%9, i%3)},
		tags.Tag{Key: "team", Value: fmt.Sprintf("team-%02d", team)},
		tags.Tag{Key: "tier", Value: [...]string{"frontend", "backend", "data"}[service%3]},
		tags.Tag{Key: "env", Value: "production"},
	)
}

// ByValue gives the tag-set columns of a batch, which hold ids, the form in which rows arrive: codes into a dictionary of
// the sets that set returns.
func ByValue(b *batch.Batch, set func(id uint32) []byte) {
	for col, v := range b.Cols {
		if v == nil || v.Type != schema.TagSet || v.Dict != nil {
			continue
		}
		var dict batch.DictBuilder
		codes, known := make([]uint32, len(v.Codes)), map[uint32]uint32{}
		for i, id := range v.Codes {
			c, ok := known[id]
			if !ok {
				c = dict.Code(set(id))
				known[id] = c
			}
			codes[i] = c
		}
		b.Cols[col] = &batch.Vector{Type: schema.TagSet, Codes: codes, Dict: dict.Seal()}
	}
}
