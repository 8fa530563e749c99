const shown = (root) => [...root.querySelectorAll("h1, header p, nav, details.marks, article")];
setInterval(async () => {
  const answer = await fetch(location.href, {cache: "no-cache"}).catch(() => null);
  if (!answer || !answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html"), now = shown(document), next = shown(fresh);
  const same = now.length === next.length && now.every((one, place) => one.tagName === next[place].tagName && one.ariaLabel === next[place].ariaLabel);
  if (!same) {
    for (const name of ["h1", "header p", "nav", "main"]) document.querySelector(name).replaceWith(fresh.querySelector(name));
    return;
  }
  now.forEach((one, place) => {
    if (one.innerHTML !== next[place].innerHTML && !one.contains(document.activeElement)) one.replaceWith(next[place]);
  });
}, $milliseconds);
