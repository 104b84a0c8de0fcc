package config

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"wolfdisk/volume"
)

// Size is a number of bytes that is written with a unit.
type Size int64

// Mode are permission bits, written in octal.
type Mode uint32

var sizeUnits = []struct {
	name   string
	factor int64
}{
	// Longest first, so that a suffix is found whole.
	{"tib", 1 << 40}, {"gib", 1 << 30}, {"mib", 1 << 20}, {"kib", 1 << 10},
	{"tb", 1e12}, {"gb", 1e9}, {"mb", 1e6}, {"kb", 1e3},
	{"t", 1 << 40}, {"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"b", 1},
}

// ParseSize reads "64MiB", "64M" (the same), "64MB" (millions) or plain bytes.
func ParseSize(text string) (Size, error) {
	digits, factor := strings.ToLower(text), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, factor = strings.TrimRight(rest, " "), u.factor
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if errors.Is(err, strconv.ErrRange) || err == nil && int64(n) > math.MaxInt64/factor {
		return 0, errors.New("is too large")
	}
	if err != nil {
		return 0, errors.New("is not a size like 64MiB")
	}
	return Size(int64(n) * factor), nil
}

// String writes the size exactly, with the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range []struct {
		name   string
		factor Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && s%u.factor == 0 {
			return strconv.FormatInt(int64(s/u.factor), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// typeName is the key's type in words, for messages and documents.
func (k *Key) typeName() string {
	switch k.field(&Config{}).(type) {
	case *bool:
		return "boolean"
	case *int:
		return "integer"
	case *Size:
		return "size"
	case *time.Duration:
		return "duration"
	case *[]string:
		return "list"
	case *float64:
		return "ratio"
	case *Mode:
		return "mode"
	case *[]S3Key, *map[string]string:
		return "table"
	}
	if k.path {
		return "path"
	}
	return "string"
}

// rangeText is what the key accepts, in words that fit behind "must be".
func (k *Key) rangeText() string {
	switch k.typeName() {
	case "boolean":
		return "true or false"
	case "integer":
		return fmt.Sprintf("a number from %d to %d", k.Min, k.Max)
	case "ratio":
		return "a number from 0 to 1"
	case "mode":
		return "an octal number from 0001 to 0777"
	case "duration":
		return fmt.Sprintf("from %s to %s", durationText(time.Duration(k.Min)), durationText(time.Duration(k.Max)))
	case "size":
		if k.PowerOfTwo {
			return fmt.Sprintf("a power of two from %s to %s", Size(k.Min), Size(k.Max))
		}
		return fmt.Sprintf("from %s to %s", Size(k.Min), Size(k.Max))
	case "path":
		if k.none {
			return "a path, or none"
		}
		return "a path"
	}
	if len(k.OneOf) > 0 {
		return words(k.OneOf, "or")
	}
	return k.format
}

// durationText drops the zero parts that time.Duration prints: 1h, not 1h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// words joins a list as one writes it.
func words(list []string, last string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " " + last + " " + list[len(list)-1]
}

// set stores texts into the key's field of c. Anything but a list takes one text.
// The error's text fits behind the value: "is not ...".
func (k *Key) set(c *Config, texts []string) error {
	dst := k.field(c)
	if list, ok := dst.(*[]string); ok {
		return k.setList(list, texts)
	}
	text := texts[len(texts)-1]
	if strings.ContainsRune(text, 0) {
		return errors.New("holds a NUL byte")
	}
	if k.none && text == "none" {
		text = ""
	} else if k.check != nil {
		var err error
		if text, err = k.check(text); err != nil {
			return err
		}
	}
	if len(k.OneOf) > 0 && !slices.Contains(k.OneOf, text) {
		return errors.New("is not known")
	}
	switch dst := dst.(type) {
	case *string:
		*dst = text
	case *Storage:
		*dst = Storage(text)
	case *Fsync:
		*dst = Fsync(text)
	case *volume.Role:
		*dst = roleOf(text)
	case *bool:
		return setBool(dst, text)
	case *float64:
		return setRatio(dst, text)
	case *Mode:
		return setMode(dst, text)
	default:
		return k.setNumber(dst, text)
	}
	return nil
}

func (k *Key) setNumber(dst any, text string) error {
	var n int64
	switch dst.(type) {
	case *int:
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return errors.New("is not a whole number")
		}
		n = v
	case *Size:
		v, err := ParseSize(text)
		if err != nil {
			return err
		}
		n = int64(v)
	case *time.Duration:
		v, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("is not a duration like 10s or 1m30s")
		}
		n = int64(v)
	}
	if n < k.Min || n > k.Max || k.PowerOfTwo && bits.OnesCount64(uint64(n)) != 1 {
		return errors.New("is out of range")
	}
	switch dst := dst.(type) {
	case *int:
		*dst = int(n)
	case *Size:
		*dst = Size(n)
	case *time.Duration:
		*dst = time.Duration(n)
	}
	return nil
}

func (k *Key) setList(dst *[]string, texts []string) error {
	var list []string
	for _, text := range texts {
		for item := range strings.SplitSeq(text, ",") {
			item = strings.TrimSpace(item)
			if item == "" && text == "" {
				continue // an empty variable or flag is an empty list
			}
			item, err := k.check(item)
			if err != nil {
				return err // the whole list is in the message: it is short
			}
			if !slices.Contains(list, item) {
				list = append(list, item)
			}
		}
	}
	*dst = list
	return nil
}

func setBool(dst *bool, text string) error {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		*dst = true
	case "false", "no", "off", "0":
		*dst = false
	default:
		return errors.New("is neither true nor false")
	}
	return nil
}

func setRatio(dst *float64, text string) error {
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(v):
		return errors.New("is not a number like 0.5")
	case v < 0 || v > 1:
		return errors.New("is out of range")
	}
	*dst = v
	return nil
}

func setMode(dst *Mode, text string) error {
	v, err := strconv.ParseUint(text, 8, 32)
	switch {
	case err != nil:
		return errors.New("is no octal number")
	case v == 0 || v > 0o777:
		return errors.New("is out of range")
	}
	*dst = Mode(v)
	return nil
}

func roleOf(text string) volume.Role {
	for r := volume.RoleAuto; r <= volume.RoleWitness; r++ {
		if r.String() == text {
			return r
		}
	}
	return volume.RoleAuto
}

// hidden stands for a secret.
const hidden = "(not shown)"

// value is what the key has in c, as TOML would say it: bool, int64, string or list.
func (k *Key) value(c *Config) any {
	switch v := k.field(c).(type) {
	case *bool:
		return *v
	case *int:
		return int64(*v)
	case *float64:
		return *v
	case *[]string:
		return *v
	case *Size:
		return v.String()
	case *time.Duration:
		return durationText(*v)
	case *Storage:
		return string(*v)
	case *Fsync:
		return string(*v)
	case *volume.Role:
		return v.String()
	case *Mode:
		return fmt.Sprintf("%04o", uint32(*v))
	case *string:
		if *v == "" && k.none {
			return "none"
		}
		if *v != "" && k.secret {
			return hidden
		}
		return *v
	}
	return nil
}

// valueText is the value as a line of a TOML file has it.
func (k *Key) valueText(c *Config) string {
	switch v := k.field(c).(type) {
	case *[]S3Key:
		return s3KeysText(*v)
	case *map[string]string:
		return s3BucketsText(*v)
	}
	switch v := k.value(c).(type) {
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = quoteTOML(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case string:
		return quoteTOML(v)
	default:
		return fmt.Sprint(v)
	}
}

// quoteTOML writes a basic string. Bytes that are no UTF-8 cannot stand in TOML
// and are shown as the replacement character.
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
