
// A button copies the cure; where the browser forbids it, the cure is selected instead.
{
  const button = document.getElementById("copy");
  const cure = document.getElementById("cure");
  const said = document.getElementById("copied");

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(cure.textContent);
      said.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(cure);
      said.textContent = "selected: press Ctrl+C or Cmd+C";
    }
  };

  if (button) {
    button.hidden = false;
    button.addEventListener("click", copy);
  }
}
