"use strict";
// Sample grids of the ticked runs side by side, at any time of the training.

const samplesTab = {
  name: "Samples",
  images: null,       // where the slider stands; null: at the newest
  build(panel) {
    this.slider = element("input", {type: "range", id: "position", min: 0, step: 1, "aria-label": "Images"});
    this.slider.oninput = () => { this.moveTo(Number(this.slider.value)); };
    this.said = element("output", {for: "position"});
    this.play = element("button", {onclick: () => { this.timer ? this.pause() : this.start(); }}, "Play");
    this.place = element("div", {class: "grids"});
    panel.replaceChildren(element("div", {class: "tools"}, this.play, this.slider, this.said), this.place);
  },
  leave() { this.pause(); },
  start() {
    this.play.textContent = "Pause";
    let step = Number(this.slider.value) < this.stops.length - 1 ? Number(this.slider.value) : -1;
    this.timer = setInterval(() => {
      step += 1;
      if (step >= this.stops.length) this.pause();
      else this.moveTo(step);
    }, 400);
  },
  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
  },
  moveTo(step) {
    this.images = step >= this.stops.length - 1 ? null : this.stops[step];
    this.draw();
  },
  draw() {
    const found = tickedIds().map(id => [id, known.details.get(id)?.pictures || []]);
    this.stops = [...new Set(found.flatMap(([, pictures]) => pictures.map(([images]) => images)))].sort((a, b) => a - b);
    this.slider.max = Math.max(0, this.stops.length - 1);
    const step = this.images === null ? this.stops.length - 1 : this.stops.findLastIndex(images => images <= this.images);
    this.slider.value = Math.max(0, step);
    this.said.textContent = this.stops.length ? `${count(this.stops[Math.max(0, step)])} images` : "no samples yet";
    const before = new Map([...this.place.children].map(box => [box.dataset.run, box]));
    this.place.replaceChildren(...found.filter(([, pictures]) => pictures.length).map(([id, pictures]) => {
      const which = pictures.findLast(([images]) => images <= this.stops[step]) || pictures[0];
      const key = which.join();
      const box = before.get(id) || element("figure");
      if (box.dataset.shown !== key + known.ticked.get(id)) {
        const label = `${known.rows.get(id).name}, ${count(which[0])} images`;
        box.replaceChildren(element("figcaption", {}, swatch(id), label), picture(id, which, label));
        Object.assign(box.dataset, {run: id, shown: key + known.ticked.get(id)});
      }
      return box;
    }));
  },
};
