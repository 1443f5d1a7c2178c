"""How a review sheet looks, and the script that lets a person decide on it."""

CSS = """
.note, .steps, .said { max-width: 72ch; }
.steps { list-style: decimal; padding-left: 1.25rem; margin-top: .75rem; }
.steps li { padding-left: .25rem; margin-top: .4rem; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .8125rem;
  background: var(--track); padding: .05rem .3rem; border-radius: 2px; }
nav ul { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; margin-top: 1.5rem; color: var(--quiet); }
nav a { color: var(--ink); }
main > section { margin-top: clamp(2.5rem, 5vw, 4rem); scroll-margin-top: 1rem; }
.said { margin-bottom: .5rem; color: var(--quiet); }
.finding { display: grid; gap: 1.25rem clamp(1.25rem, 2.5vw, 2.5rem); padding: 2rem 0;
  grid-template-columns: 12.5rem minmax(17rem, 1fr) minmax(0, 1.35fr); align-items: start;
  border-bottom: 1px solid var(--line); scroll-margin: 6rem; }
.finding > .mat { padding: 7%; }
.case h3 { font-size: 1.25rem; }
.artist, .why { color: var(--quiet); }
.why { margin-top: .6rem; font-size: .8125rem; }
.labels { margin-top: 1rem; display: grid; gap: .45rem; }
.labels > div { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); gap: 0 1rem; align-items: baseline; }
.labels dt { color: var(--quiet); font-size: .8125rem; }
.labels .present { --fill: var(--other); }
.labels .suggested { --fill: var(--right); }
.labels .suggested bdi, .finding.kept .present bdi { font-weight: 600; }
.finding.kept .suggested bdi { font-weight: 400; }
.finding.changed .present bdi { text-decoration: line-through; }
.share { display: flex; align-items: center; gap: .6rem; color: var(--quiet); font-size: .8125rem;
  font-variant-numeric: tabular-nums; }
.share .bar { width: 8rem; height: .375rem; }
.evidence h4 { font-size: .8125rem; font-weight: 400; color: var(--quiet); margin-bottom: .5rem; }
.evidence ul { display: grid; gap: 1rem; grid-template-columns: repeat(4, minmax(0, 1fr)); }
.evidence .mat { padding: 6%; }
.evidence figcaption { padding-top: .4rem; font-size: .8125rem; line-height: 1.35; }
.evidence .title { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
.evidence :is(.kind, .measure) { color: var(--quiet); }
fieldset { border: 0; padding: 0; margin-top: 1.1rem; display: grid; gap: .3rem; }
.other { display: flex; align-items: center; gap: .6rem; }
fieldset[hidden], .bar-below[hidden] { display: none; }
legend { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
fieldset label { cursor: pointer; }
input[type=radio] { accent-color: var(--right); margin: 0 .2rem 0 0; vertical-align: -.1em; }
input[type=text] { font: inherit; color: inherit; background: var(--mat); border: 1px solid var(--line);
  padding: .15rem .5rem; width: 14rem; min-width: 0; }
.bar-below { position: sticky; bottom: 0; z-index: 2; display: flex; flex-wrap: wrap; align-items: center;
  justify-content: space-between; gap: .75rem 1.5rem; padding: .9rem 0; background: var(--wall);
  border-top: 1px solid var(--line); }
.bar-below button { font: inherit; color: var(--wall); background: var(--ink); border: 0; border-radius: 2px;
  padding: .5rem 1.1rem; cursor: pointer; }
@media screen and (max-width: 68rem) {
  .finding { grid-template-columns: 9.5rem minmax(0, 1fr); }
  .evidence { grid-column: 1 / -1; }
}
@media screen and (max-width: 34rem) {
  .finding { grid-template-columns: minmax(0, 1fr); }
  .finding > .mat { max-width: 15rem; }
}
@media print {
  .finding { grid-template-columns: 32mm minmax(0, 1fr) minmax(0, 1.2fr); gap: 5mm; padding: 4mm 0;
    break-inside: avoid; }
  .bar-below.bar-below, fieldset.scripted { display: none; }
  main > section { margin-top: 8mm; }
}
"""

SCRIPT = """
const bar = document.querySelector(".bar-below"), place = work => Number(work.id.slice(1));
const works = [...document.querySelectorAll(".finding")].sort((a, b) => place(a) - place(b));
const said = bar.querySelector("p"), field = work => work.querySelector("input[type=text]");
const chosen = work => work.querySelector("input[type=radio]:checked")?.value;
const quoted = text => /[",\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
const guarded = text => /^'*[=+\\-@\\t\\r]/.test(text) ? "'" + text : text; // as the CSV beside this page
const answer = work => {
  const choice = chosen(work), words = field(work).value.trim();
  return choice === "other" ? "," + quoted(guarded(words)) : choice ? choice + "," : ",";
};
let unsaved = false;
function review() {
  return [bar.dataset.head, ...works.map(work => work.dataset.row + "," + answer(work))].join("\\r\\n") + "\\r\\n";
}
function count() {
  const decided = works.filter(work => answer(work) !== ",");
  const changed = decided.filter(work => answer(work) !== "no,");
  said.textContent = decided.length
    ? `${decided.length} of ${works.length} decided, ${changed.length} to change` : "nothing decided yet";
  works.forEach(work => {
    work.classList.toggle("kept", answer(work) === "no,");
    work.classList.toggle("changed", changed.includes(work));
  });
}
document.querySelectorAll(".scripted").forEach(part => { part.hidden = false; });
works.forEach(work => field(work).addEventListener("input", () => {
  work.querySelector("input[value=other]").checked = true;
}));
document.addEventListener("input", () => { unsaved = true; count(); });
bar.querySelector("button").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\\ufeff", review()], { type: "text/csv" }));
  link.download = bar.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
});
addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });
count();
"""
