package collector

import (
	"fmt"
	"reflect"
)

// addFields adds every counter of src to the one of the same name in dst: metrics of workers make those of the whole. T is
// a struct of integers, arrays and structs of them; anything else is a programming error.
func addFields[T any](dst, src *T) {
	addValues(reflect.ValueOf(dst).Elem(), reflect.ValueOf(src).Elem())
}

func addValues(d, s reflect.Value) {
	switch {
	case d.CanUint():
		d.SetUint(d.Uint() + s.Uint())
	case d.CanInt():
		d.SetInt(d.Int() + s.Int())
	case d.Kind() == reflect.Struct:
		for i := range d.NumField() {
			addValues(d.Field(i), s.Field(i))
		}
	case d.Kind() == reflect.Array:
		for i := range d.Len() {
			addValues(d.Index(i), s.Index(i))
		}
	default:
		panic(fmt.Sprintf("collector: cannot add metrics of kind %s", d.Kind()))
	}
}
