package node

import "wolfdisk/volume"

// Unseen implements volume.LateObserver for all front ends together.
func (o *observers) Unseen() (first volume.Version, any bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, v := range o.list {
		late, ok := v.(volume.LateObserver)
		if !ok {
			continue
		}
		if f, is := late.Unseen(); is && (!any || f < first) {
			first, any = f, true
		}
	}
	return first, any
}

// Applying implements volume.EarlyObserver.
func (o *observers) Applying(ops []*volume.Op) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, v := range o.list {
		if early, ok := v.(volume.EarlyObserver); ok {
			early.Applying(ops)
		}
	}
}

// Ending implements volume.EndObserver.
func (o *observers) Ending(a *volume.Attr) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, v := range o.list {
		if end, ok := v.(volume.EndObserver); ok {
			end.Ending(a)
		}
	}
}
